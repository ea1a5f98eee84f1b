// What makes the pages lively: parts of them are fetched anew and put in place. Without it every link still works.

const base = document.body.dataset.base;
const list = document.getElementById("list");
const pane = document.getElementById("pane");
const known = new Set();
let latest = null; // the last state that the server told
let turn = 0; // of two answers on their way, only that to the later question counts
let listTurn = 0;
let pressed = false; // whether a mouse button or a finger is down
const ups = ["pointerup", "pointercancel", "contextmenu"]; // over a menu, nothing is seen to go up

const article = () => pane?.querySelector("article");
const items = () => [...(list?.querySelectorAll(".item") ?? [])];
const selected = () => list?.querySelector(".item.selected");

function remember() {
  for (const item of items()) known.add(item.dataset.id);
}

async function fragment(url, name) {
  const address = new URL(url, location.href);
  address.searchParams.set("fragment", name);
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`${answer.status} for ${address}`);
  return answer.text();
}

function select(id) {
  for (const item of items()) {
    const chosen = item.dataset.id === id;
    item.classList.toggle("selected", chosen);
    const link = item.querySelector("a");
    if (chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function title(text) {
  const unread = latest?.unread ? `(${latest.unread}) ` : "";
  document.title = `${unread}${text} · ion`;
}

async function open(url, { push = true } = {}) {
  const mine = ++turn;
  let html;
  try {
    html = await fragment(url, "mail");
  } catch {
    location.assign(url); // the server says on a page of its own what is wrong
    return;
  }
  if (mine !== turn) return;
  const held = document.activeElement?.dataset.hold;
  pane.innerHTML = html;
  const mail = article();
  document.body.classList.toggle("reading", Boolean(mail));
  document.body.classList.toggle("listing", !mail);
  select(mail?.dataset.id);
  selected()?.classList.remove("unread");
  title(mail?.dataset.title ?? "Inbox");
  if (push) history.pushState(null, "", url);
  selected()?.scrollIntoView({ block: "nearest" });
  // The keys that scroll are for the mail; Tab goes on from the button or tab that was used.
  const focus = (held && pane.querySelector(`[data-hold="${held}"]`)) || pane.querySelector(".view[tabindex]");
  if (push) (focus ?? pane).focus({ preventScroll: true });
}

async function renew() {
  if (!list) return;
  const here = new URL(location.href);
  const address = new URL(`${base}/`, here);
  for (const name of ["q", "page"]) {
    if (here.searchParams.has(name)) address.searchParams.set(name, here.searchParams.get(name));
  }
  const mine = ++listTurn;
  const html = await fragment(address, "list");
  await released();
  if (mine !== listTurn) return;
  const focused = document.activeElement?.closest?.(".item")?.dataset.id;
  const place = list.scrollTop;
  list.innerHTML = html;
  list.scrollTop = place;
  for (const item of items()) {
    if (!known.has(item.dataset.id)) item.classList.add("fresh");
    if (item.dataset.id === focused) item.querySelector("a").focus({ preventScroll: true });
  }
  remember();
  select(article()?.dataset.id);
}

// A click is one only where button down and button up meet the same element, so nothing is replaced in between.
function released() {
  return pressed && new Promise((go) => {
    for (const name of ups) addEventListener(name, () => setTimeout(go), { once: true });
  });
}

function move(by) {
  const all = items();
  const at = all.indexOf(selected());
  const next = article() && at < 0 ? null : all[at < 0 ? 0 : at + by];
  if (next) open(next.querySelector("a").href);
  else article()?.querySelector(by > 0 ? "a.older[href]" : "a.newer[href]")?.click();
}

async function change(method, path, body) {
  const answer = await fetch(`${base}/api/v1/${path}`, {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

const actions = {
  async unread() {
    const id = article()?.dataset.id;
    if (!id) return;
    await change("PUT", "messages", { IDs: [id], Read: false });
    await back();
    await renew();
  },
  async delete() {
    const id = article()?.dataset.id;
    if (!id) return;
    const all = items();
    const at = all.findIndex((item) => item.dataset.id === id);
    const next = all[at + 1] ?? all[at - 1];
    await change("DELETE", "messages", { IDs: [id] });
    if (next && at >= 0 && innerWidth > 680) await open(next.querySelector("a").href);
    else await back();
    await renew();
  },
  async help() {
    document.getElementById("help").showModal();
  },
  async redrive(button) {
    button.disabled = true;
    await change("POST", "dead-letters/redrive", button.dataset.ids ? { IDs: [button.dataset.ids] } : {});
    button.textContent = "Asked for";
  },
};

async function back() {
  const link = article()?.querySelector("a.back");
  if (link) await open(link.href);
}

function act(name, button) {
  actions[name](button).catch((error) => {
    if (button) button.disabled = false;
    alert(error.message);
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (button) {
    act(button.dataset.action, button);
    return;
  }
  const link = event.target.closest("a[href]");
  if (!pane || !link || event.metaKey || event.ctrlKey || event.shiftKey || event.button || link.target || link.download) return;
  if (link.closest(".item, .tabs, .actions, .bar")) {
    event.preventDefault();
    open(link.href);
  }
});

addEventListener("pointerdown", () => { pressed = true; });
for (const name of ups) addEventListener(name, () => { pressed = false; });

addEventListener("popstate", () => {
  if (pane) open(location.href, { push: false }).then(renew);
});

const keys = {
  j: () => move(1),
  k: () => move(-1),
  u: back,
  m: () => act("unread"),
  "#": () => act("delete"),
  "/": () => document.querySelector(".search input").focus(),
  "?": () => act("help"),
};

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea") || event.metaKey || event.ctrlKey || event.altKey) {
    if (event.key === "Escape") event.target.blur?.();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const tab = /^[1-5]$/.test(event.key) ? article()?.querySelectorAll(".tabs > *")[event.key - 1] : null;
  const action = tab ? () => tab.click() : keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

function listen() {
  const stream = new EventSource(`${base}/events`);
  stream.addEventListener("change", async (event) => {
    const now = JSON.parse(event.data);
    const before = latest;
    latest = now;
    document.getElementById("unread").textContent = now.unread || "";
    document.title = document.title.replace(/^\(\d+\) /, "");
    if (now.unread) document.title = `(${now.unread}) ${document.title}`;
    if (before && before.version === now.version && before.complete === now.complete) return;
    if (list) await renew().catch(() => {}); // the next event comes
    else if (before && document.querySelector("#letters, .log")) await refreshSheet();
  });
}

// Dead letters and the SMTP log are small: they come anew as a whole, unless somebody is reading in them.
async function refreshSheet() {
  const sheet = document.querySelector("main.sheet");
  if (sheet.querySelector("details[open]") || sheet.scrollTop > 0) return;
  const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  sheet.replaceChildren(...page.querySelector("main.sheet").childNodes);
}

remember();
listen();
