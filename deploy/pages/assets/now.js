// The model's page: the servers are asked beside it, since one that is away takes its time to be silent.

const told = document.querySelector("#answers");
try {
  const answer = await fetch("/model/servers", { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(answer.statusText);
  const part = new DOMParser().parseFromString(await answer.text(), "text/html");
  told.replaceChildren(...part.body.childNodes);
} catch {
  told.textContent = "The pages did not answer: load this page again.";
}
