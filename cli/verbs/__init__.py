"""The verbs of `./shop`: one module each, loaded when it is used; `command` is what runs."""
