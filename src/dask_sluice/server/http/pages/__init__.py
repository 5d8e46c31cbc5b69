"""Pages for people: rendered here, brought up to date by one script, with nothing that the API does not give."""
