"""The pages: one web application, and the one authority for who somebody is.

- `application`: what it is made of, and in which order a request meets it
- `doors`: who may open what; what is refused, and in which words
- `reading`: the readers' worklist, studies, answers and questions
- `model`: the model owner's releases, nights and log
- `saves`: what is saved in the viewer, on its way to the archive
- `passage`: the way on to viewer and dashboard
- `telling`: what people are told without looking
- `site`: what the pages work with
- `sign_in`: how people prove who they are, one file a way
- `server`: its process
- `templates`, `assets`: what a browser is sent
"""
