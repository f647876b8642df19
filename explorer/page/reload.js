// A part that does not come, as when the network changes meanwhile, stops all that needs it.
addEventListener("error", ({ target }) => target.matches?.("script, link") && setTimeout(() => location.reload(), 1000), true);
