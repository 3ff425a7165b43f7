/* ---------------------------------------------------------------- front and sections */

function front() {
  writeFacts(content.facts);
  for (const [where, note] of content.notes) byId("note-list").append(h("li", null, where ? h("strong", null, `${where}: `) : null, note));
}

function sections() {
  const there = {
    tables: content.tables.length > 0,
    figures: content.drawings.length > 0,
    videos: content.browser !== null,
    notes: content.notes.length > 0,
  };
  const links = {};
  for (const [id, shown] of Object.entries(there)) {
    byId(id).hidden = !shown;
    if (!shown) continue;
    links[id] = h("a", { href: `#${id}`, onclick: (event) => { event.preventDefault(); go(id); } },
      byId(`${id}-title`).textContent);
  }
  const names = content.tables.map((table, place) =>
    h("a", { class: "minor", href: "#tables", onclick: (event) => { event.preventDefault(); go("tables", `table-${place}`); } },
      table.title.split(":")[0]));
  byId("nav").append(h("div", null, links.tables, content.tables.length > 1 ? names : null, links.figures, links.videos, links.notes));
  byId("nav").hidden = !Object.keys(links).length;
  const seen = () => {
    const line = byId("nav").offsetHeight + innerHeight / 3;
    const ended = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    const ids = Object.keys(links);
    const above = ids.filter((id) => byId(id).getBoundingClientRect().top <= line);
    const current = ended ? ids.at(-1) : above.at(-1);
    for (const id of ids) {
      if (id === current) links[id].setAttribute("aria-current", "true");
      else links[id].removeAttribute("aria-current");
    }
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; seen(); });
  }, { passive: true });
  seen();
}

function go(section, part) {
  byId(part ?? section).scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  byId(`${section}-title`).focus({ preventScroll: true });
}

/* ---------------------------------------------------------------- tables */

const LEVELS = { segment: "Segment level", event: "Event level", map: "mAP at the threshold of tIoU" };
const SHORT = { audio: "Audio", visual: "Visual", audio_visual: "AV", type_av: "Type@AV", event_av: "Event@AV", average: "Average" };
const options = { level: narrow ? "segment" : "all", deviation: true, difference: true, interval: !narrow, printed: true };

const columnLevel = (column) => (column.includes("/") ? column.split("/")[0] : "");
const columnName = (column) => {
  const name = column.split("/").at(-1);
  if (columnLevel(column) === "map") return name.replace("average_", "").replaceAll("_", ":");
  return SHORT[name] ?? name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
};
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(1);
const minus = (value) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(1);
const uncertain = (cell) => cell.interval === null || (cell.interval[0] <= 0 && cell.interval[1] >= 0);

function tables() {
  const has = (test) => content.tables.some((table) => table.rows.some((row) => Object.values(row.cells).some(test)));
  const levels = new Set(content.tables.flatMap((table) => table.columns.map(columnLevel)).filter((level) => level in LEVELS));
  const redraw = [];
  if (levels.size > 1) {
    byId("table-options").append(h("fieldset", { class: "choice" }, h("legend", { class: "unseen" }, "Level"),
      [["all", "Both levels"], ["segment", "Segments"], ["event", "Events"]].map(([value, text]) => h("label", null,
        h("input", { type: "radio", name: "level", value, checked: options.level === value,
          onchange: () => { options.level = value; redraw.forEach((again) => again()); } }),
        h("span", null, text)))));
  } else options.level = "all";
  const toggles = [
    ["deviation", "± seeds", has((cell) => cell.deviation !== null)],
    ["difference", "difference", has((cell) => cell.difference !== null)],
    ["interval", "interval", has((cell) => cell.interval !== null)],
    ["printed", "paper", content.tables.some((table) => table.rows.some((row) => Object.keys(row.printed).length))],
  ].filter(([, , there]) => there);
  const apply = () => toggles.forEach(([name]) => byId("table-list").classList.toggle(`no-${name}`, !options[name]));
  byId("table-options").append(...toggles.map(([name, text]) => h("label", { class: "check" },
    h("input", { type: "checkbox", checked: options[name], onchange: (event) => { options[name] = event.target.checked; apply(); } }),
    h("span", null, text))));
  apply();
  byId("table-key").hidden = !has((cell) => !uncertain(cell));
  content.tables.forEach((table, place) => {
    const [figure, again] = oneTable(table, place);
    redraw.push(again);
    byId("table-list").append(figure);
  });
}

function oneTable(table, place) {
  const sort = { column: null, descending: true };
  const body = h("div", { class: "sheet", role: "region", tabindex: "0", "aria-labelledby": `table-${place}` });
  // a table that is too wide gets narrower cells before it scrolls
  const fit = () => {
    body.classList.remove("tight");
    body.classList.toggle("tight", body.scrollWidth > body.clientWidth);
  };
  const again = () => {
    const focused = document.activeElement?.dataset?.column;
    const within = body.contains(document.activeElement);
    body.replaceChildren(sheet(table, place, sort, again));
    fit();
    if (within && focused !== undefined) {
      [...body.querySelectorAll("button")].find((button) => button.dataset.column === focused)?.focus();
    }
  };
  again();
  new ResizeObserver(() => requestAnimationFrame(fit)).observe(body);
  return [h("figure", { class: "table" }, h("h3", { id: `table-${place}` }, table.title), body), again];
}

function sheet(table, place, sort, again) {
  const columns = table.columns.filter((column) =>
    options.level === "all" || !(columnLevel(column) in LEVELS) || columnLevel(column) === options.level);
  const best = {};
  for (const column of columns) {
    const means = table.rows.flatMap((row) => (row.cells[column] ? [row.cells[column].mean.toFixed(1)] : []));
    if (means.length > 1) best[column] = means.reduce((one, other) => (Number(one) >= Number(other) ? one : other));
  }
  const rows = [...table.rows];
  if (sort.column === "") {
    rows.sort((one, other) => (sort.descending ? -1 : 1) * one.label.localeCompare(other.label, "en", { numeric: true }));
  } else if (sort.column !== null && columns.includes(sort.column)) {
    const of = (row) => row.cells[sort.column]?.mean;
    rows.sort((one, other) => {
      if (of(one) === undefined || of(other) === undefined) return (of(one) === undefined) - (of(other) === undefined);
      return (sort.descending ? -1 : 1) * (of(one) - of(other));
    });
  }
  const header = (column, text, said, span) => {
    const here = sort.column === column;
    return h("th", { scope: "col", rowspan: span, class: column === "" ? "name" : null,
      "aria-sort": here ? (sort.descending ? "descending" : "ascending") : "none" },
    h("button", { type: "button", "data-column": column, onclick: () => {
      const first = column !== ""; // numbers start with the best, names with A
      if (sort.column !== column) Object.assign(sort, { column, descending: first });
      else if (sort.descending === first) sort.descending = !first;
      else Object.assign(sort, { column: null, descending: true });
      again();
    } }, hidden(said), h("span", { "aria-hidden": "true" }, breakable(text)),
    h("span", { class: "arrow", "aria-hidden": "true" }, here ? (sort.descending ? "↓" : "↑") : "↕")));
  };
  const groups = [];
  for (const column of columns) {
    const level = columnLevel(column);
    if (groups.length && groups.at(-1).level === level) groups.at(-1).columns.push(column);
    else groups.push({ level, columns: [column] });
  }
  const grouped = groups.some((group) => group.level);
  const starts = new Set(groups.map((group) => group.columns[0]));
  const top = grouped ? h("tr", { class: "groups" }, header("", "Setting", "Setting", 2),
    groups.map((group) => group.level
      ? h("th", { scope: "colgroup", colspan: group.columns.length }, h("span", null, LEVELS[group.level] ?? group.level))
      : group.columns.map((column) => header(column, columnName(column), columnName(column), 2)))) : null;
  const bottom = h("tr", null, grouped ? null : header("", "Setting", "Setting", null),
    groups.filter((group) => group.level || !grouped).map((group) => group.columns.map((column) =>
      header(column, columnName(column), `${columnName(column)} ${LEVELS[group.level]?.toLowerCase() ?? group.level}`, null))));
  return h("table", { "aria-labelledby": `table-${place}` }, h("thead", null, top, bottom),
    h("tbody", null, rows.map((row) => h("tr", { class: row.seeds ? null : "only-printed" },
      h("th", { scope: "row" }, h("span", { class: "label" }, breakable(row.label)),
        h("span", { class: "seeds" }, row.seeds ? `${row.seeds} seed${row.seeds === 1 ? "" : "s"}` : "from the paper"),
        row.needs ? h("span", { class: "needs" }, `beyond weak labels: ${row.needs}`) : null),
      columns.map((column) => h("td", { class: starts.has(column) ? "first" : null },
        oneCell(row.cells[column], row.printed[column], best[column])))))));
}

function oneCell(cell, printed, best) {
  if (cell === undefined && printed === undefined) return h("span", { class: "none" }, "–");
  const parts = [];
  if (cell !== undefined) {
    const text = cell.mean.toFixed(1);
    parts.push(h("span", { class: text === best ? "mean best" : "mean" }, text));
    if (cell.deviation !== null) parts.push(h("span", { class: "deviation" }, ` ± ${cell.deviation.toFixed(1)}`));
    if (cell.difference !== null) {
      const sure = !uncertain(cell);
      parts.push(h("span", { class: sure ? "difference sure" : "difference" },
        sure ? h("span", { "aria-hidden": "true" }, cell.difference > 0 ? "▲" : "▼") : null, signed(cell.difference),
        sure ? hidden(" (the interval excludes 0)") : null));
      if (cell.interval !== null) {
        parts.push(h("span", { class: "interval" }, `[${minus(cell.interval[0])}, ${minus(cell.interval[1])}]`));
      }
    }
  }
  if (printed !== undefined) parts.push(h("span", { class: "printed" }, hidden("paper: "), minus(printed)));
  return parts;
}

/* ---------------------------------------------------------------- figures */

function figures() {
  for (const { title, caption, svg } of content.drawings) {
    const picture = () => h("img", { src: `data:image/svg+xml;base64,${svg}`, alt: caption ? `${title}. ${caption}` : title, decoding: "async",
      onload: ({ target }) => target.style.setProperty("--legible", `${1.25 * target.naturalWidth}px`) });
    byId("figure-list").append(h("figure", null,
      h("button", { type: "button", class: "plate", "aria-label": `Enlarge: ${title}`, onclick: () => enlarge(picture(), title, caption) }, picture()),
      h("figcaption", null, h("strong", null, `${title}.`), caption ? ` ${caption}` : null)));
  }
}

function enlarge(picture, title, caption) {
  const dialog = byId("enlarged");
  const close = h("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(h("div", { class: "top" }, h("strong", null, title), close), h("div", { class: "canvas", tabindex: "0", role: "region", "aria-label": "The figure" }, picture), h("p", null, caption));
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  dialog.showModal();
}

/* ---------------------------------------------------------------- videos */

const KIND_NAMES = { missed: "missed", false: "false", extent: "wrong extent", inexact: "inexact", exact: "exact" };
const MEANINGS = {
  exact: "found with the bounds of the truth",
  inexact: "overlaps the truth enough to count (intersection over union of at least 0.5), with other bounds",
  extent: "overlaps the truth too little to count (below 0.5), or in more or fewer pieces",
  false: "found where the event does not occur",
  missed: "occurs, but was not found",
};
const ERRORS = ["missed", "false", "extent"];

/** In localization, what is compared are the best detections of each event, as many as it has instances. */
function inLocalization() {
  Object.assign(KIND_NAMES, { inexact: "hit", exact: "close hit" });
  Object.assign(MEANINGS, {
    exact: "finds an instance, with a temporal intersection over union (tIoU) of at least 0.7",
    inexact: "finds an instance, with a tIoU of at least 0.5",
    extent: "overlaps an instance by a tIoU below 0.5, or one that a better detection has found",
    false: "overlaps no instance of the event",
    missed: "an instance that no detection finds",
  });
}

/** What the outcomes mean, each with its texture. */
const outcomes = () => content.kinds.toReversed().map(([kind]) => [[h("i", { class: `sample ${kind}` }), KIND_NAMES[kind]], MEANINGS[kind]]);
const meanings = (named, pairs) => h("dl", { class: named }, pairs.map(([what, meaning]) => h("div", null, h("dt", null, what), h("dd", null, meaning))));

function browse(browser) {
  const { events, modalities, methods, seconds, timed } = browser;
  if (timed) inLocalization();
  const first = methods.flatMap(([, , , shown], k) => (shown ? [k] : []));
  let seats = [...first]; // the methods that are shown; a seat is a color, and null is a free one
  const isShown = (k) => seats.includes(k);
  const color = (k) => content.colors[seats.indexOf(k) % content.colors.length];
  const dot = (k) => h("i", { class: k === null ? "dot truth" : `dot turn-${Math.floor(seats.indexOf(k) / content.colors.length) % 3}` });
  const known = methods.map((method) => method[2]);
  const place = methods.map((_, k) => known.slice(0, k).filter(Boolean).length); // among the methods with probabilities
  const numbered = new Map(content.kinds.map(([, letter], number) => [letter, number]));
  const videos = browser.videos.map(([name, segments, media, scores, shown], number) => ({
    name, segments, media, scores, number,
    shown: shown.map(([event, tracks]) => ({ event,
      tracks: tracks.map(timed
        ? ([truth, groups, percents, likely]) => ({ truth, groups, percents, likely, counts: null })
        : ([truth, predictions, marks, percents, likely]) => ({ truth, predictions, marks, percents, likely, counts: null })) })),
  }));
  const state = { video: null, event: -1, modality: -1, method: -1, kind: "", search: "", media: false, order: "listed" };
  const fresh = { ...state };
  let found = [];
  let chosen = null;

  const shownMethods = () => methods.flatMap((_, k) => (isShown(k) ? [k] : []));
  const chosenMethods = () => (state.method < 0 ? shownMethods() : [state.method]);
  const part = (text, k, size) => text.slice(k * size, (k + 1) * size);

  /** How many groups of each kind a track has, by method: an array of [methods * kinds]. */
  function counted(track, segments) {
    if (track.counts) return track.counts;
    track.counts = new Uint16Array(methods.length * content.kinds.length);
    if (timed) {
      track.groups.forEach((groups, k) => groups.forEach(([letter]) => { track.counts[k * content.kinds.length + numbered.get(letter)] += 1; }));
      return track.counts;
    }
    for (let i = 0; i < track.marks.length; i += 1) {
      const kind = numbered.get(track.marks[i]);
      if (kind !== undefined) track.counts[Math.floor(i / segments) * content.kinds.length + kind] += 1;
    }
    return track.counts;
  }

  const kindNumbers = (kind) => content.kinds.flatMap(([name], number) =>
    (kind === name || (kind === "error" && ERRORS.includes(name)) ? [number] : []));

  /** Whether a track is one that the filters ask for. */
  function asked(video, event, modality, track) {
    if (state.event >= 0 && event !== state.event) return false;
    if (state.modality >= 0 && modality !== state.modality) return false;
    const counts = counted(track, video.segments);
    const kinds = state.kind ? kindNumbers(state.kind) : content.kinds.map((_, number) => number);
    return chosenMethods().some((k) => kinds.some((kind) => counts[k * content.kinds.length + kind] > 0));
  }

  const asking = () => state.event >= 0 || state.modality >= 0 || state.kind !== "";

  function passes(video) {
    if (state.media && !video.media) return false;
    if (state.search && !video.name.toLowerCase().includes(state.search.toLowerCase())) return false;
    return !asking() || video.shown.some(({ event, tracks }) => tracks.some((track, m) => asked(video, event, m, track)));
  }

  const likelyEnough = (percents) => /^(?:..)*?[5-9]/.test(percents);

  /** Whether an event of a video is worth showing: it occurs, or a method that is shown found it or gave it 0.5. */
  const worth = (video, tracks) => (timed ? worthTimed(tracks) : tracks.some(({ truth, predictions, percents, likely }) => truth || shownMethods().some((k) =>
    part(predictions, k, video.segments).includes("1") || (known[k] &&
      (likelyEnough(part(percents, place[k], 2 * video.segments)) || likelyEnough(part(likely, place[k], 2)))))));
  const worthTimed = (tracks) => tracks.some(({ truth, groups }) => truth.length > 0 || shownMethods().some((k) => groups[k].length > 0));

  /** Groups by method and kind in a video, of the event and modality that are looked at. */
  function tally(video) {
    const sums = methods.map(() => content.kinds.map(() => 0));
    for (const { event, tracks } of video.shown) {
      if (state.event >= 0 && event !== state.event) continue;
      tracks.forEach((track, m) => {
        if (state.modality >= 0 && m !== state.modality) return;
        const counts = counted(track, video.segments);
        for (let i = 0; i < counts.length; i += 1) sums[Math.floor(i / content.kinds.length)][i % content.kinds.length] += counts[i];
      });
    }
    return sums;
  }

  const overMethods = (sums) => content.kinds.map((_, kind) => chosenMethods().reduce((sum, k) => sum + sums[k][kind], 0));
  const wrong = (sums) => overMethods(sums).reduce((sum, count, kind) => sum + (ERRORS.includes(content.kinds[kind][0]) ? count : 0), 0);
  const score = (video) => chosenMethods().reduce((sum, k) => sum + video.scores[k], 0) / Math.max(1, chosenMethods().length);

  /* filters */

  const select = (name, label, choices) => h("label", null, h("span", null, label),
    h("select", { name, onchange: (event) => { state[name] = name === "kind" || name === "order" ? event.target.value : Number(event.target.value); refresh(); } },
      choices.map(([value, text]) => h("option", { value }, text))));
  const numberedChoices = (names, all) => [[-1, all], ...names.map((name, number) => [number, name])];
  const form = byId("filters");
  const search = h("input", { type: "search", name: "search", placeholder: "Name …", "aria-keyshortcuts": "/", autocomplete: "off",
    spellcheck: "false", oninput: () => { state.search = search.value; refresh(); } });
  const anyMedia = videos.some((video) => video.media);
  const mediaBox = h("input", { type: "checkbox", name: "media", onchange: () => { state.media = mediaBox.checked; refresh(); } });
  form.append(
    h("label", { class: "wide" }, h("span", null, "Search"), search),
    select("event", "Event", numberedChoices(events, "any")),
    timed ? h("input", { type: "hidden", name: "modality" }) : select("modality", "Modality", numberedChoices(modalities, "any")),
    select("method", "Method", []),
    select("kind", "Outcome", [["", "any"], ["error", "any error"], ...content.kinds.map(([name]) => [name, KIND_NAMES[name]])]),
    select("order", "Order", [["listed", "as listed"], ["name", "name"], ["worst", "lowest score first"], ["best", "highest score first"], ["errors", "most errors first"]]),
    anyMedia ? h("label", { class: "check" }, mediaBox, h("span", null, "with media only")) : "",
    h("button", { type: "button", class: "reset", onclick: () => { Object.assign(state, fresh, { video: state.video }); showFilters(); refresh(); } }, "Reset"));
  form.addEventListener("submit", (event) => event.preventDefault());

  /* the methods to choose from */

  const chooser = byId("chooser");
  const heading = h("summary", null);
  const boxes = methods.map(([label, seed], k) => {
    const box = h("input", { type: "checkbox", name: "shown", value: String(k), onchange: () => {
      if (!box.checked) seats[seats.indexOf(k)] = null;
      else if (seats.includes(null)) seats[seats.indexOf(null)] = k;
      else seats.push(k);
      showMethods();
      refresh();
    } });
    const line = h("label", { class: "check toned", title: `${label}, seed ${seed}` }, box, h("i", { class: "dot" }), h("span", null, breakable(label)));
    return { box, line };
  });
  const several = (text, wanted) => h("button", { type: "button", class: "reset", onclick: () => { seats = [...wanted]; showMethods(); refresh(); } }, text);
  chooser.hidden = methods.length < 2;
  chooser.append(heading, h("fieldset", { class: "choices" }, h("legend", { class: "unseen" }, "Methods that are shown"), boxes.map(({ line }) => line)),
    h("p", { class: "several" }, several("All", methods.map((_, k) => k)), several("None", []), first.length < methods.length ? several("Default", first) : null));

  /** Show which methods are chosen; the filter by one method is among these. */
  function showMethods() {
    if (!isShown(state.method)) state.method = -1;
    heading.replaceChildren("Methods ", h("span", null, `${shownMethods().length} of ${methods.length} shown`));
    boxes.forEach(({ box, line }, k) => {
      box.checked = isShown(k);
      line.querySelector(".dot").replaceWith(isShown(k) ? dot(k) : h("i", { class: "dot" }));
      line.style.setProperty("--c", isShown(k) ? color(k) : "transparent");
    });
    const choice = form.elements.method;
    choice.replaceChildren(h("option", { value: "-1" }, shownMethods().length < methods.length ? "all shown" : "all"),
      ...shownMethods().map((k) => h("option", { value: String(k) }, methods[k][0])));
    choice.value = String(state.method);
  }

  function showFilters() {
    showMethods();
    for (const name of ["event", "modality", "method", "kind", "order"]) form.elements[name].value = String(state[name]);
    search.value = state.search;
    mediaBox.checked = state.media;
  }

  /* the part of the state that a link keeps */

  function save() {
    const kept = new URLSearchParams();
    if (state.video !== null) kept.set("video", state.video);
    if (state.event >= 0) kept.set("event", events[state.event]);
    if (state.modality >= 0) kept.set("modality", modalities[state.modality]);
    if (String(shownMethods()) !== String(first)) {
      for (const k of shownMethods().length ? shownMethods() : [null]) kept.append("show", methods[k]?.[0] ?? "");
    }
    if (state.method >= 0) kept.set("method", methods[state.method][0]);
    for (const name of ["kind", "search"]) if (state[name]) kept.set(name, state[name]);
    if (state.order !== "listed") kept.set("order", state.order);
    if (state.media) kept.set("media", "1");
    history.replaceState(null, "", `#${kept}`);
  }

  const saveSoon = soon(save);

  function restore() {
    const kept = new URLSearchParams(location.hash.slice(1));
    const labels = methods.map(([label]) => label);
    const wanted = kept.getAll("show").map((label) => labels.indexOf(label)).filter((k) => k >= 0);
    seats = kept.has("show") ? [...new Set(wanted)] : [...first];
    const choice = (name, allowed, otherwise) => (allowed.includes(kept.get(name)) ? kept.get(name) : otherwise);
    Object.assign(state, {
      video: kept.get("video"),
      event: events.indexOf(kept.get("event")),
      modality: modalities.indexOf(kept.get("modality")),
      method: labels.indexOf(kept.get("method")),
      kind: choice("kind", ["error", ...content.kinds.map(([name]) => name)], ""),
      order: choice("order", ["name", "worst", "best", "errors"], "listed"),
      search: kept.get("search") ?? "",
      media: anyMedia && kept.get("media") === "1",
    });
    showFilters();
    return kept.has("video");
  }

  /* the list */

  const list = byId("list");

  function row(video) {
    if (!video.row) {
      video.chips = h("span", { class: "chips" });
      video.mark = h("span", { class: "score" });
      video.row = h("div", { role: "option", id: `video-${video.number}`, "aria-selected": "false",
        onclick: () => { choose(video); list.focus({ preventScroll: true }); } },
      h("span", { class: "what" }, shortened(video.name), video.media ? h("span", { class: "has-media", role: "img", "aria-label": "with media" }, "▸") : null),
      video.mark, video.chips);
    }
    return video.row;
  }

  const plural = (count, kind) => `${count} ${KIND_NAMES[kind]}`;

  function refresh() {
    const totals = methods.map(() => content.kinds.map(() => 0));
    found = videos.filter(passes);
    for (const video of found) {
      video.sums = tally(video);
      video.sums.forEach((kinds, k) => kinds.forEach((count, kind) => { totals[k][kind] += count; }));
    }
    const by = {
      listed: () => 0,
      name: (one, other) => one.name.localeCompare(other.name, "en", { numeric: true }),
      worst: (one, other) => score(one) - score(other),
      best: (one, other) => score(other) - score(one),
      errors: (one, other) => wrong(other.sums) - wrong(one.sums),
    }[state.order];
    found.sort((one, other) => by(one, other) || one.number - other.number);
    list.replaceChildren(...found.map((video) => {
      const element = row(video);
      video.mark.replaceChildren(hidden("score "), chosenMethods().length ? score(video).toFixed(0) : "");
      const sums = overMethods(video.sums);
      const bad = content.kinds.flatMap(([kind], number) => (ERRORS.includes(kind) && sums[number] ? [plural(sums[number], kind)] : []));
      video.chips.textContent = bad.length ? bad.join(" · ") : chosenMethods().length ? "no error" : "";
      return element;
    }));
    byId("count").textContent = found.length === videos.length
      ? `${videos.length} videos` : `${found.length} of ${videos.length} videos`;
    const some = chosenMethods();
    byId("sums").textContent = some.length === 1 ? `Errors of ${scope()}, and score, of ${methods[some[0]][0]}`
      : some.length ? `Errors of ${scope()}, summed over ${some.length} methods; score: their mean` : "";
    summarize(totals);
    choose(found.find((video) => video.name === state.video) ?? found[0] ?? null);
  }

  /** Over which events and modalities numbers are summed. */
  const scope = () => (timed ? [state.event < 0 ? "all events" : events[state.event]] : [state.event < 0 ? "all events" : events[state.event],
    state.modality >= 0 ? modalities[state.modality] : modalities.length > 1 ? "all modalities" : modalities[0]]).join(" in ");

  function summarize(totals) {
    const some = shownMethods();
    const most = Math.max(1, ...some.map((k) => totals[k].reduce((one, other) => one + other, 0)));
    const seeds = new Set(some.map((k) => methods[k][1]));
    const of = found.length === videos.length ? `all ${videos.length} videos` : `${found.length} of ${videos.length} videos`;
    const rule = timed ? "Shown are the best detections of each event over all test videos, as many as it has instances." : "Intervals that overlap count once.";
    const sum = some.length ? `${timed ? "Detections" : "Intervals"} of ${scope()}, summed over ${of}: ${seeds.size === 1 ? `seed ${[...seeds][0]}` : "one seed"} of each method. ${rule}`
      : "No method is chosen.";
    const order = [4, 3, 2, 1, 0]; // what was found first, what was missed last
    const lines = some.map((k) => {
      const [label, seed] = methods[k];
      const bar = h("div", { class: "stack", "aria-hidden": "true" }, order.map((kind) => {
        const piece = h("i", { class: content.kinds[kind][0], title: plural(totals[k][kind], content.kinds[kind][0]) });
        piece.style.width = `${(100 * totals[k][kind]) / most}%`;
        return piece;
      }));
      const line = h("div", { class: k === state.method ? "method toned chosen" : "method toned" },
        h("span", { class: "label", title: `${label}, seed ${seed}` }, dot(k), h("span", null, breakable(label))),
        bar,
        h("span", { class: "numbers" }, order.map((kind) => h("span", { class: `of-${content.kinds[kind][0]}` },
          String(totals[k][kind]), hidden(` ${KIND_NAMES[content.kinds[kind][0]]}, `)))));
      line.style.setProperty("--c", color(k));
      return line;
    });
    const names = h("div", { class: "method legend", "aria-hidden": "true" }, h("span", { class: "label" }, "Method"), h("span", { class: "stack" }),
      h("span", { class: "numbers" }, order.map((kind) => h("span", { class: `of-${content.kinds[kind][0]}` }, KIND_NAMES[content.kinds[kind][0]]))));
    byId("summary").replaceChildren(meanings("outcomes", outcomes()), h("p", { class: "sums" }, sum), ...(some.length ? [names, ...lines] : []));
  }

  function step(by) {
    if (!found.length) return;
    const next = found[Math.max(0, Math.min(found.length - 1, found.indexOf(chosen) + by))];
    choose(next);
  }

  function choose(video) {
    markRow(list, video?.row, chosen?.row);
    const other = video !== chosen;
    chosen = video;
    state.video = video?.name ?? null;
    show(other);
    saveSoon();
  }

  /* the video */

  const rows = h("div", { class: "events" });
  const playback = playing(rows, seconds, (media) => `${decodeURIComponent(media)} cannot be played here: the file has been moved (a report that is made with media_copy=true keeps its files beside it), or this browser does not support its format.`);
  const detail = byId("detail");
  const title = h("h3", { tabindex: "-1" });
  const position = h("span", { class: "position" });
  const previous = h("button", { type: "button", "aria-label": "Previous video", "aria-keyshortcuts": "k", onclick: () => step(-1) }, "←");
  const next = h("button", { type: "button", "aria-label": "Next video", "aria-keyshortcuts": "j", onclick: () => step(1) }, "→");
  const results = h("div", { class: "results" });
  const legend = h("section", { class: "texture-key", "aria-label": "How to read the tracks" }, meanings("key-of-tracks", [
    ...outcomes(),
    ...(timed ? [] : [[[h("i", { class: "sample ghost" }), "dashed"], "the truth, where the bounds differ"]]),
    ...(known.some(Boolean) ? [
      [[h("i", { class: "sample curve" }), "curve"], "the probability of each segment; 0.5 is dotted"],
      ["video", "the probability that the event is in the whole video"],
      ["cursor", "the probability of the segment at the cursor"]] : []),
    ...(timed ? [["shade", "the darker a detection is, the higher is its score beside those of the event in this video"]] : [])]));

  const length = () => (chosen ? chosen.segments * seconds : 0);

  detail.append(
    h("div", { class: "title" }, h("div", null, title, position), h("div", { class: "steps" }, previous, next)),
    h("div", { class: "panes" },
      h("div", { class: "tracks" }, h("div", { class: "ruler" }, playback.time, playback.clock), rows, legend),
      h("div", { class: "aside" }, playback.screen, results)));

  function show(other) {
    detail.classList.toggle("empty", !chosen);
    if (!chosen) {
      title.textContent = "No video matches";
      position.textContent = "Remove a filter, or reset all of them.";
      playback.close();
      return;
    }
    title.replaceChildren(...breakable(chosen.name));
    position.textContent = `video ${found.indexOf(chosen) + 1} of ${found.length}`;
    previous.disabled = chosen === found[0];
    next.disabled = chosen === found.at(-1);
    if (other) playback.open({ name: chosen.name, media: chosen.media, segments: chosen.segments, length: length() });
    playback.redraw();
    rows.style.setProperty("--digits", shownMethods().some((k) => known[k]) ? "2.1rem" : "0px");
    // first what the filters ask for, then what occurs, then what was only found
    const rank = ({ event, tracks }) => (isHit(event, tracks) ? 0 : tracks.some(({ truth }) => truth.length) ? 1 : 2);
    const listed = chosen.shown.filter(({ tracks }) => worth(chosen, tracks)).sort((one, other) => rank(one) - rank(other));
    rows.replaceChildren(...listed.map(oneEvent));
    if (!listed.length) rows.append(h("p", { class: "nothing" }, "Nothing occurs in this video, and no method that is shown found anything."));
    scoreCard();
    playback.move();
  }

  function scoreCard() {
    const all = chosen.sums;
    results.replaceChildren(h("table", null,
      h("caption", null, `Errors of ${scope()} in this video; the score is of the whole video`),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Method"), h("th", { scope: "col", title: timed ? "F1 of the shown detections, at a tIoU of 0.5" : "Mean of all scores on this video alone" }, "Score"),
        ERRORS.map((kind) => h("th", { scope: "col", title: `${KIND_NAMES[kind]}: ${MEANINGS[kind]}` }, { missed: "Missed", false: "False", extent: "Extent" }[kind])))),
      h("tbody", null, shownMethods().map((k) => {
        const [label, seed] = methods[k];
        const line = h("tr", { class: "toned" }, h("th", { scope: "row", title: `seed ${seed}` }, h("div", null, dot(k), h("span", null, breakable(label)))),
          h("td", null, chosen.scores[k].toFixed(0)),
          ERRORS.map((kind) => {
            const count = all[k][content.kinds.findIndex(([name]) => name === kind)];
            return h("td", { class: count ? null : "zero" }, String(count));
          }));
        line.style.setProperty("--c", color(k));
        return line;
      }))));
  }

  /** Whether the filters ask for an event of the chosen video. */
  const isHit = (event, tracks) => asking() && tracks.some((track, m) => asked(chosen, event, m, track));

  function oneEvent({ event, tracks }) {
    const hit = isHit(event, tracks);
    const blocks = h("div", { class: "blocks" }, tracks.map((track, m) => block(event, m, track)));
    blocks.style.setProperty("--modalities", modalities.length);
    blocks.style.setProperty("--rows", 1 + shownMethods().length);
    return h("section", { class: hit ? "event hit" : "event", "aria-label": events[event] },
      h("h4", null, events[event], hit ? hidden(" (asked for by the filters)") : null), blocks);
  }

  function block(event, modality, track) {
    const size = chosen.segments;
    const lanes = [];
    const add = (k, label, bars, said) => {
      const lane = { label, bars, said, dot: dot(k), color: k === null ? null : color(k), kind: k === null ? "truth" : null };
      if (k !== null && known[k]) {
        const own = timed ? track.percents[place[k]] : part(track.percents, place[k], 2 * size);
        Object.assign(lane, { points: pointsOf(own), likely: Number(part(track.likely, place[k], 2)),
          likelySaid: `probability in the whole video, ${modalities[modality]}` });
      }
      lanes.push(lane);
    };
    if (timed) timedLanes(event, modality, track, add);
    else parsedLanes(event, modality, track, add);
    return trackBlock(playback, { heading: modalities[modality], lanes, segments: size, lasts: timed ? length() : size, headed: shownMethods().some((k) => known[k]) });
  }

  /** The lanes of intervals in seconds: the truth, and for each method its detections and the instances it misses. */
  function timedLanes(event, modality, track, add) {
    const size = length();
    add(null, "truth", track.truth.map(([on, off]) => bar("bar truth", on, off, size, `${clean(on)} to ${clean(off)} s`)), `Truth: ${spokenSpans(track.truth)}`);
    for (const k of shownMethods()) {
      const [label] = methods[k];
      const groups = track.groups[k];
      const best = Math.max(0, ...groups.map(([, , , score]) => score ?? 0));
      const said = groups.map(([letter, on, off, score]) => {
        const kind = content.kinds[numbered.get(letter)][0];
        return `${KIND_NAMES[kind]} ${clean(on)} to ${clean(off)} s${score === null ? "" : `, score ${score}`}`;
      });
      const bars = groups.map(([letter, on, off, score], number) => {
        const kind = content.kinds[numbered.get(letter)][0];
        const element = bar(score === null ? "ghost missed" : `bar ${kind}`, on, off, size, `${label}: ${said[number]}`);
        if (score !== null && best > 0) element.style.opacity = String(0.45 + 0.55 * Math.max(0, score / best));
        return [score ?? -1, element];
      }).sort(([one], [other]) => one - other).map(([, element]) => element); // the best one on top
      add(k, label, bars, `${label}: ${said.length ? said.join("; ") : "nothing"}`);
    }
  }

  /** The lanes of whole segments: the truth, and for each method what it found. */
  function parsedLanes(event, modality, track, add) {
    const size = chosen.segments;
    const bits = track.truth || "0".repeat(size);
    add(null, "truth", runs(bits).map(([on, off]) => bar("bar truth", on, off, size)), `Truth, ${modalities[modality]}: ${spoken(runs(bits))}`);
    for (const k of shownMethods()) {
      const [label] = methods[k];
      const predicted = part(track.predictions, k, size);
      const marks = part(track.marks, k, size);
      const bars = [];
      const kinds = [];
      for (const [kind, on, off] of groups(marks)) {
        kinds.push(`${KIND_NAMES[kind]} ${clean(on * seconds)} to ${clean(off * seconds)} s`);
        const within = (text) => runs(text.slice(on, off)).map(([from, to]) => [on + from, on + to]);
        const named = `${KIND_NAMES[kind]}: ${events[event]}, ${modalities[modality]}, ${label}`;
        if (kind !== "exact" && kind !== "false") for (const [from, to] of within(bits)) bars.push(bar(`ghost ${kind}`, from, to, size, named));
        if (predicted) for (const [from, to] of within(predicted)) bars.push(bar(`bar ${kind}`, from, to, size, named));
      }
      add(k, label, bars, `${label}, ${modalities[modality]}: ${spoken(runs(predicted))}${kinds.length ? `; ${kinds.join(", ")}` : ""}`);
    }
  }

  const spoken = (spans) => spokenSpans(spans.map(([on, off]) => [on * seconds, off * seconds]));

  function groups(marks) {
    return [...marks.matchAll(/([A-Z])[a-z]*/g)].map((group) =>
      [content.kinds[numbered.get(group[1])][0], group.index, group.index + group[0].length]);
  }

  /* keys */

  const inView = () => {
    const { top, bottom } = byId("videos").getBoundingClientRect();
    return top < innerHeight && bottom > 0;
  };

  stepByKeys(list, step, () => found.length);

  document.addEventListener("keydown", (key) => {
    if (modified(key) || byId("enlarged").open) return;
    if (key.key === "Escape" && key.target === search) {
      key.preventDefault();
      if (search.value) { search.value = state.search = ""; refresh(); } else list.focus();
      return;
    }
    if (typing(key.target)) return;
    if (key.key === "/") {
      key.preventDefault();
      search.focus();
      search.select();
    } else if (!inView()) return; // keys do nothing while the videos are out of view
    else if (key.key === "j") step(1);
    else if (key.key === "k") step(-1);
    else if (playback.playsAt(key)) {
      key.preventDefault();
      playback.toggle();
    }
  });

  // modalities stand side by side where their tracks have room
  new ResizeObserver(() => requestAnimationFrame(() => {
    const wide = rows.clientWidth / parseFloat(getComputedStyle(document.documentElement).fontSize);
    rows.classList.toggle("beside", modalities.length > 1 && wide >= 10 + 12 * modalities.length);
  })).observe(rows);

  const linked = restore();
  refresh();
  // once the figures above have their heights
  if (linked) addEventListener("load", () => requestAnimationFrame(() => byId("videos").scrollIntoView({ behavior: "instant" })));
  addEventListener("hashchange", () => {
    if (byId(location.hash.slice(1))) return; // a section
    restore();
    refresh();
  });
}

front();
tables();
figures();
if (content.browser) browse(content.browser);
sections();
