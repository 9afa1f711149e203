// What makes the pages quicker. Every flow works without it: links and forms do the same with a whole page.
"use strict";

const REFRESH_MS = 2000;
const YEAR_S = 31536000;

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const plainClick = (event) => event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;

async function read(url) {
  const answer = await fetch(url, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(answer.status);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// Theme: switched at once, and remembered for the server's next page.
function switchTheme(event) {
  event.preventDefault();
  const root = document.documentElement;
  const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  document.cookie = `varsel_theme=${root.dataset.theme}; path=/; max-age=${YEAR_S}; samesite=lax`;
}

// A message or another view of it opens in the pane, and the list stays where it is.
async function open(url, { push = true, focus } = {}) {
  let fresh;
  try {
    fresh = await read(url);
  } catch {
    location.assign(url);
    return;
  }
  if (push) history.pushState(null, "", url.split("#")[0]);
  one(".pane").replaceWith(one(".pane", fresh));
  one(".inbox").className = one(".inbox", fresh).className;
  const id = one(".pane").dataset.id;
  for (const link of all("#messages a")) {
    if (link.dataset.id === id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  prepare();
  if (focus) one(focus)?.focus();
}

function follow(event) {
  const link = event.target.closest("a");
  if (!link || !plainClick(event)) return;
  if (link.matches("#messages a")) {
    event.preventDefault();
    const narrow = matchMedia("(max-width: 48rem)").matches;
    open(link.href, { focus: narrow ? "#message-title" : undefined }).then(() => narrow && one("#message")?.scrollIntoView());
  } else if (link.matches("[data-view]")) {
    event.preventDefault();
    open(link.href, { focus: `[data-view="${link.dataset.view}"]` });
  } else if (link.matches(".goback")) {
    event.preventDefault();
    const id = one(".pane").dataset.id;
    open(link.href).then(() => one(`#messages a[data-id="${id}"]`)?.focus());
  } else if (link.matches("[data-opens]")) {
    event.preventDefault();
    one(`#${link.dataset.opens}`).showModal();
  } else if (link.matches("[data-closes]")) {
    event.preventDefault();
    link.closest("dialog").close();
  }
}

// Up and Down (or k and j) walk through the list, Escape leaves it for the search.
function walk(event) {
  const links = all("#messages a, table a.go");
  const at = links.indexOf(document.activeElement);
  if (at < 0 || event.metaKey || event.ctrlKey || event.altKey) return;
  const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  if (step) {
    event.preventDefault();
    links[at + step]?.focus();
  } else if (event.key === "Escape") {
    one("#q, .filters input:not([type=hidden])")?.focus();
  }
}

// A slash leads to the search of the page, unless somebody is writing.
function seek(event) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const field = all("#find, #find-small, #q").find((input) => input.offsetParent) || one(".burger summary");
  if (!field) return;
  event.preventDefault();
  field.focus();
}

// What was revealed is covered again when its time is over; a button gives it more.
function countDown() {
  const note = one("[data-countdown]");
  if (!note) return;
  const end = Date.now() + Number(note.dataset.countdown) * 1000;
  const tick = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) {
      location.replace(note.dataset.url);
      return;
    }
    note.textContent = note.textContent.replace(/\d+/, left);
    setTimeout(tick, 1000);
  };
  tick();
}

// Live: values change in place, at most every two seconds; the list never moves by itself, a quiet bar says what is new.
async function refresh() {
  if (document.hidden) return;
  const bar = one(".fresh");
  try {
    const fresh = await read(location.href);
    for (const part of all("[data-live]", fresh)) {
      const old = one(`[data-live="${part.dataset.live}"]`);
      if (old && old.innerHTML !== part.innerHTML) old.innerHTML = part.innerHTML;
    }
    showNew(fresh, bar);
  } catch {
    bar.className = "fresh lost";
    bar.textContent = one(".inbox").dataset.lost;
    bar.hidden = false;
  }
}

function showNew(fresh, bar) {
  const had = all("#messages a").map((link) => link.dataset.id);
  const has = all("#messages a", fresh).map((link) => link.dataset.id);
  if ((had.length === 0) !== (has.length === 0)) {
    location.reload();
    return;
  }
  const known = has.findIndex((id) => had.includes(id));
  const count = known < 0 ? has.length : known;
  bar.classList.remove("lost");
  bar.hidden = count === 0;
  if (count) {
    const link = one("a", bar) || bar.appendChild(document.createElement("a"));
    link.href = one(".fresh a", fresh).getAttribute("href");
    const text = count === 1 ? bar.dataset.one : bar.dataset.other.replace("{n}", count);
    if (link.textContent !== text) bar.replaceChildren(Object.assign(link, { textContent: text }));
  }
}

async function keepFresh() {
  await refresh();
  setTimeout(keepFresh, REFRESH_MS);
}

// What is under way is looked at until it has come; then the page is still.
async function lookAgain() {
  if (!document.hidden) {
    try {
      const fresh = await read(location.pathname);
      for (const part of all("[data-live]", fresh)) {
        const old = one(`[data-live="${part.dataset.live}"]`);
        if (old && old.innerHTML !== part.innerHTML) old.innerHTML = part.innerHTML;
      }
      if (!one("[data-pending]", fresh)) return;
    } catch {
      // it is asked again
    }
  }
  setTimeout(lookAgain, REFRESH_MS);
}

async function copy(button) {
  await navigator.clipboard.writeText(one(`#${button.dataset.copies}`).textContent);
  const [label, spoken] = [one("span", button), one("[role=status]", button.parentElement)];
  const before = label.textContent;
  label.textContent = spoken.textContent = button.dataset.done;
  setTimeout(() => {
    label.textContent = before;
    spoken.textContent = "";
  }, 2000);
}

// Not scrollIntoView: that would also move the place from which Tab goes on.
function showCurrent() {
  const list = one("#messages");
  const current = list && one("[aria-current]", list);
  if (current) list.scrollTop = current.offsetTop - list.offsetTop - (list.clientHeight - current.offsetHeight) / 2;
}

// An order is looked at while it is written: what the server says of it takes the place of what it said before.
const WRITING_MS = 600;

function previews(form) {
  let timer, busy, again, wanted = {};
  const add = one("[data-adds]", form);
  const soon = (more) => {
    Object.assign(wanted, more);
    clearTimeout(timer);
    timer = setTimeout(ask, more ? 0 : WRITING_MS);
  };
  const ask = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    const sent = wanted;
    wanted = {};
    const fields = new FormData(form);
    fields.delete("do");
    if (!sent.add) fields.delete("add");
    if (sent.remove) fields.set("remove", sent.remove);
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(fields), headers: { Accept: "text/html" } });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!one("[data-previews]", fresh)) return;
      if (sent.add && add.value === sent.add) add.value = "";
      for (const part of all("[data-swap]", fresh)) {
        const old = one(`[data-swap="${part.dataset.swap}"]`);
        if (old && old.innerHTML !== part.innerHTML) old.innerHTML = part.innerHTML;
      }
      if (sent.remove) (one(`[name="remove"][value="${sent.remove}"]`) || add).focus();
    } catch {
      // not reached: the form is as it was, and its buttons work
    } finally {
      busy = false;
      if (again) {
        again = false;
        ask();
      }
    }
  };
  const commit = () => add.value.trim() && soon({ add: add.value });
  form.addEventListener("input", (event) => event.target !== add && soon());
  add.addEventListener("change", commit);
  add.addEventListener("paste", () => setTimeout(commit));
  add.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    commit();
  });
  form.addEventListener("click", (event) => {
    const button = event.target.closest('[name="remove"]');
    if (!button) return;
    event.preventDefault();
    soon({ remove: button.value });
  });
}

// What only a script can do is hidden until there is one.
function prepare() {
  for (const button of all("[data-copies]")) button.hidden = !navigator.clipboard;
  for (const button of all("[data-prints]")) button.hidden = false;
}

document.addEventListener("click", (event) => {
  const copier = event.target.closest("[data-copies]");
  if (copier) copy(copier);
  else if (event.target.closest("[data-prints]")) print();
  else if (event.target.closest("[data-theme-switch]")) switchTheme(event);
  else follow(event);
});
document.addEventListener("keydown", walk);
document.addEventListener("keydown", seek);
addEventListener("beforeprint", () => all("details.more").forEach((details) => (details.open = true)));
document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-waits]")) event.target.closest("section").setAttribute("aria-busy", "true");
});
addEventListener("popstate", () => one(".pane") && open(location.href, { push: false }));
prepare();
countDown();
showCurrent();
if (one(".inbox")) setTimeout(keepFresh, REFRESH_MS);
all("[data-previews]").forEach(previews);
one("#summary")?.focus();
if (one("[data-pending]")) setTimeout(lookAgain, REFRESH_MS);
