"""How do people reach it over HTTP? The adaptations of a run behind the OpenAI API.

`served_models` says what there is under which name, `model_service` answers requests in batches,
`routes` are the pages of the API, `app` puts them together and mounts the studio's pages where
those are installed. Needs `pip install luthier[serve]`.
"""
