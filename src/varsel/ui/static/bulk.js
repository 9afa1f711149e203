// The check and the progress of a bulk job move by themselves: the page is read again, and its parts are exchanged.
"use strict";

const WATCH_MS = 1000;

async function watch() {
  const card = one("[data-watch]");
  if (!card) return;
  if (!document.hidden && !one("dialog[open]")) {
    try {
      const fresh = await read(location.pathname);
      if (one("[data-watch]", fresh)?.dataset.watch !== card.dataset.watch) {
        location.replace(location.pathname);
        return;
      }
      for (const part of all("[data-live]", fresh)) {
        const old = one(`[data-live="${part.dataset.live}"]`);
        if (old && old.innerHTML !== part.innerHTML) old.innerHTML = part.innerHTML;
      }
    } catch {
      // Nobody answers: what stands here stays, and it is tried again.
    }
  }
  setTimeout(watch, WATCH_MS);
}

setTimeout(watch, WATCH_MS);
