// Live events: a stream read by fetch, since an EventSource could send no token.

const MOST_SHOWN = 500;

// Calls `told` with each event of a stream until it ends; `place.id` is the number to go on from.
async function read(body, place, told) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const messages = buffer.split("\n\n");
    buffer = messages.pop();
    for (const message of messages) {
      const fields = new Map(message.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
      if (fields.has("id")) place.id = fields.get("id");
      if (fields.has("data")) told(JSON.parse(fields.get("data")));
    }
  }
}

function row(el, event) {
  const [, component, operation, object] = event.id.split("|");
  const gap = component === "events" && operation === "gap";
  return el("tr", { class: gap ? "gap" : undefined },
    el("td", {}, el("code", {}, String(event.seq))),
    el("td", {}, new Date(event.time * 1000).toLocaleTimeString()),
    el("td", {}, `${component} ${operation}`, object === "no_id" ? null : el("div", { class: "quiet" }, object)),
    el("td", {}, el("code", {}, JSON.stringify(event.params))));
}

// Draws the view; returns a function that ends it.
export function drawEvents(main, el, token) {
  let stream = null;
  const filter = el("input", { id: "event-filter", placeholder: "virt|VM_*", autocomplete: "off", spellcheck: "false" });
  const state = el("p", { id: "event-state", class: "quiet", role: "status" });
  const rows = el("tbody", { id: "event-rows" });

  const watch = async () => {
    stream?.abort();
    const mine = (stream = new AbortController());
    const place = { id: "" };
    rows.replaceChildren();
    while (!mine.signal.aborted) {
      const headers = token.value ? { Authorization: `Bearer ${token.value}` } : {};
      if (place.id) headers["Last-Event-ID"] = place.id;
      try {
        const url = `/api/events?snapshot=true${filter.value ? `&filter=${encodeURIComponent(filter.value)}` : ""}`;
        const response = await fetch(url, { headers, credentials: "omit", cache: "no-store", signal: mine.signal });
        if (!response.ok) throw new Error((await response.json()).detail);
        state.textContent = "Live: current states first, then what happens.";
        await read(response.body, place, (event) => {
          rows.prepend(row(el, event));
          if (rows.childElementCount > MOST_SHOWN) rows.lastElementChild.remove();
        });
      } catch (error) {
        if (mine.signal.aborted) return;
        state.textContent = `${error.message} Trying again…`;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  };
  main.replaceChildren(el("div", { class: "reading wide" },
    el("h1", {}, "Events"),
    el("p", { class: "lead" }, "What happens on this host, while it happens."),
    el("form", { onsubmit: (event) => { event.preventDefault(); watch(); } },
      el("label", { class: "field" }, el("span", {}, "Filter: an id, ", el("code", {}, "*"), " stands for any text"), filter),
      el("p", { class: "send" }, el("button", { type: "submit" }, "Watch"))),
    state,
    el("table", {}, el("thead", {}, el("tr", {}, ["Number", "Time", "Event", "Parameters"].map((head) => el("th", { scope: "col" }, head)))), rows)));
  watch();
  return () => stream.abort();
}
