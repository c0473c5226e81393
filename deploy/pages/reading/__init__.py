"""The reader's pages.

- `worklist`: which study to open first
- `study`: one study, organ by organ, and the answers to it
- `questions`: what is asked about a SEG that came back
- `viewer_path`: where the viewer shows a study
- `roles`: who may look, and who may answer
- `words`: what is said of an organ, in a reader's words
- `names`: who the patients are, asked of the archive for what is on the screen, stored nowhere
- `live`: that something has happened, told to every open page
"""
