// Waiting that ends: for a moment, for the reader to look at the page, for the next frame.

// Resolves after so long. Raises when the signal is aborted.
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", left, { once: true });
    function done() {
      signal.removeEventListener("abort", left);
      resolve();
    }
    function left() {
      clearTimeout(timer);
      reject(signal.reason);
    }
  });
}

// Runs while the page can be seen, and again each time it is seen again, until `run` ends by itself or the view is left.
export async function whileVisible(signal, run) {
  while (!signal.aborted) {
    await visible(signal);
    const hidden = new AbortController();
    const hide = () => document.visibilityState === "hidden" && hidden.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      await run(AbortSignal.any([signal, hidden.signal]));
      return;
    } catch (error) {
      if (!hidden.signal.aborted && !signal.aborted) throw error;
    } finally {
      document.removeEventListener("visibilitychange", hide);
    }
  }
}

function visible(signal) {
  if (document.visibilityState === "visible") return undefined;
  return new Promise((resolve) => {
    const seen = new AbortController();
    const end = () => (seen.abort(), resolve());
    signal.addEventListener("abort", end, { signal: seen.signal });
    const look = () => document.visibilityState === "visible" && end();
    document.addEventListener("visibilitychange", look, { signal: seen.signal });
  });
}

// A function that draws in the next frame, once, however often it is called before.
export function eachFrame(draw, signal) {
  let isDue = false;
  return () => {
    if (isDue || signal.aborted) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      if (!signal.aborted) draw();
    });
  };
}

// A function that runs a task, and once more if it was called meanwhile; never twice at a time.
export function coalesced(task) {
  let running = false;
  let isDue = false;
  return async () => {
    isDue = true;
    if (running) return;
    running = true;
    try {
      while (isDue) {
        isDue = false;
        await task();
      }
    } finally {
      running = false;
    }
  };
}
