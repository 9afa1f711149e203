// The overview moves by itself: one stream of events, and a whole page every ten seconds where there is none.
"use strict";

const POLL_MS = 10000;
const board = one("[data-events]");
const pauser = one("[data-pause]");
const FRAGMENTS = ["clock", "road", "needs", "chart", "tiles", "providers", "senders"];
let stream, poll;
let updated = /[\d.:]+$/.exec(one("[data-live=clock]").textContent.trim())[0];

// Texts and attributes change in place; what is built otherwise is replaced, unless somebody is in it.
function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE && fresh.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else if (old.nodeName === fresh.nodeName && old.matches("[data-keyed]")) {
    for (const row of old.children) {
      const match = [...fresh.children].find((other) => other.dataset.key === row.dataset.key);
      if (match) morph(row, match);
    }
  } else if (old.nodeName === fresh.nodeName && old.childNodes.length === fresh.childNodes.length) {
    for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    const parts = [...fresh.childNodes];
    [...old.childNodes].forEach((child, place) => morph(child, parts[place]));
  } else if (!old.contains(document.activeElement)) {
    old.replaceWith(fresh);
  }
}

function swap(page) {
  for (const part of all("[data-live]", page)) {
    const old = one(`[data-live="${part.dataset.live}"]`);
    if (old) morph(old, part);
  }
  updated = /[\d.:]+$/.exec(one("[data-live=clock]").textContent.trim())?.[0] || updated;
}

function still(text) {
  const clock = one("[data-live=clock]");
  clock.classList.add("still");
  one("span", clock).textContent = text.replace("{time}", updated);
}

function disconnect() {
  stream?.close();
  stream = undefined;
  clearTimeout(poll);
}

function connect() {
  disconnect();
  if (document.hidden || pauser.getAttribute("aria-pressed") === "true") return;
  stream = new EventSource(board.dataset.events);
  for (const name of FRAGMENTS) {
    stream.addEventListener(name, ({ data }) => {
      clearTimeout(poll);
      swap(new DOMParser().parseFromString(data, "text/html"));
    });
  }
  stream.addEventListener("error", () => {
    still(board.dataset.lost);
    clearTimeout(poll);
    poll = setTimeout(fall, refused() ? 0 : POLL_MS);
  });
}

// The browser tries again by itself where a stream was lost, and not where there was none.
const refused = () => stream?.readyState === EventSource.CLOSED;

// A page now and then, until there is a stream again.
async function fall() {
  try {
    swap(await read(location.href));
  } catch {
    still(board.dataset.lost);
  }
  clearTimeout(poll);
  poll = setTimeout(refused() ? connect : fall, POLL_MS);
}

pauser.hidden = false;
pauser.addEventListener("click", () => {
  const paused = pauser.getAttribute("aria-pressed") !== "true";
  pauser.setAttribute("aria-pressed", paused);
  pauser.textContent = paused ? pauser.dataset.resume : pauser.dataset.wait;
  connect();
  if (paused) still(board.dataset.paused);
});
document.addEventListener("visibilitychange", connect);
addEventListener("pagehide", disconnect);
connect();
