// The model owner's pages: an act that was asked for is followed to its end.

const EVERY_MS = 500;
const STALE_MS = 10_000;
const told = document.querySelector("#act[data-going]");

if (told) {
  const step = told.querySelector("[data-step]");
  let heard = Date.now();
  const follow = async () => {
    try {
      const answer = await fetch(`/model/candidates/${told.dataset.going}/act`, { headers: { accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const act = await answer.json();
      heard = Date.now();
      if (!act || act.ended) return location.reload();
      if (act.step) step.textContent = act.step;
    } catch {
      if (Date.now() - heard > STALE_MS) step.textContent = "the pages do not answer; trying again";
    }
    setTimeout(follow, EVERY_MS);
  };
  setTimeout(follow, EVERY_MS);
}
