/* ---------------------------------------------------------------- timelines */

const { events, tracks, videos, seconds, scored } = content;
const several = videos.length > 1;
const wholeLength = videos.reduce((sum, video) => sum + video.length, 0);
const color = (m) => content.colors[m % content.colors.length];
const dot = (m) => h("i", { class: "dot toned" });
const percentOf = (confidence) => `${Math.round(100 * confidence)} %`;
const confidenceOf = (confidence) => (scored ? `score ${Number(confidence.toPrecision(3))}` : percentOf(confidence));

/** A duration for readers: seconds up to two minutes, then minutes, then hours. */
function duration(time) {
  if (time < 120) return `${clean(time)} s`;
  const whole = Math.round(time);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${rest} s`;
}

/** Each video with its events: those that were found, by the time when they begin, and the others, the likeliest first. */
const listed = videos.map((video, number) => {
  const all = video.events.map(([event, lanes]) => {
    const lane = lanes.map((one) => one && { intervals: one[0], points: pointsOf(one[1]), likely: Number(one[2]) });
    const spans = lane.flatMap((one) => one?.intervals ?? []);
    return { event, lanes: lane, first: Math.min(...spans.map(([from]) => from)), most: Math.max(0, ...lane.flatMap((one) => one?.points ?? [])), found: spans.length > 0 };
  });
  return { ...video, number,
    found: all.filter((one) => one.found).sort((one, other) => one.first - other.first),
    others: all.filter((one) => !one.found).sort((one, other) => other.most - one.most) };
});

function timelines() {
  const state = { video: null, event: -1, search: "" };
  let shown = [];
  let chosen = null;
  let openOthers = false;

  /* the chosen video */

  const rows = h("div", { class: "events" });
  const playback = playing(rows, seconds, (media, name) => media.startsWith("data:")
    ? `This browser cannot play the media of ${name}. Their format may not be supported here.`
    : `${decodeURIComponent(media)} cannot be played here: the file has been moved (a page that is made with embed_media=true contains its media), or this browser does not support its format.`);
  const title = h("h2", { dir: "auto" });
  const position = h("p", { class: "position" });
  const previous = h("button", { type: "button", "aria-label": "Previous video", "aria-keyshortcuts": "k", onclick: () => step(-1) }, "←");
  const next = h("button", { type: "button", "aria-label": "Next video", "aria-keyshortcuts": "j", onclick: () => step(1) }, "→");
  const now = h("section", { class: "now", "aria-label": "At the cursor" });
  const axis = h("div", { class: "axis", "aria-hidden": "true" });
  const nothing = h("p", { class: "nothing" }, "Nothing was found in this video.");
  const ruler = h("div", { class: "ruler" }, playback.clock, h("span", { class: "head left", "aria-hidden": "true" }, "video"),
    h("div", { class: "scale" }, playback.time, axis), h("span", { class: "head right", "aria-hidden": "true" }, "cursor"));
  const stage = h("div", { class: "stage" }, playback.screen, now);
  const legend = h("ul", { class: "legend" },
    h("li", null, h("i", { class: "sample found" }), scored ? "found; the darker, the higher its score in this video" : "found"),
    h("li", null, h("i", { class: "sample curve" }), "probability of each segment; 0.5 is dotted"),
    h("li", null, h("b", null, "video"), " probability that the event is anywhere in the video"),
    h("li", null, h("b", null, "cursor"), " probability of the segment at the cursor"));
  const keys = h("p", { class: "keys" }, h("kbd", null, "space"), " play, pause · ", h("kbd", null, "←"), " ", h("kbd", null, "→"), " one segment back, forward",
    several ? [" · ", h("kbd", null, "j"), " ", h("kbd", null, "k"), " next, previous · ", h("kbd", null, "/"), " search"] : null);
  byId("detail").append(
    h("div", { class: several ? "title" : "title alone" }, h("div", null, several ? title : null, position), several ? h("div", { class: "steps" }, previous, next) : null),
    stage, h("div", { class: "tracks" }, ruler, nothing, rows), legend, keys);

  function choose(video) {
    markRow(list, video?.row, chosen?.row);
    const other = video !== chosen;
    chosen = video;
    state.video = video?.name ?? null;
    if (other) show();
    saveSoon();
  }

  function show() {
    byId("detail").classList.toggle("empty", !chosen);
    if (!chosen) {
      title.textContent = "No video matches";
      position.textContent = "Remove a filter.";
      playback.close();
      return;
    }
    title.replaceChildren(...breakable(chosen.name));
    position.textContent = [...(several ? [duration(chosen.length)] : []), ...chosen.missing.map((m) => `${tracks[m]}: not known, the video has no such track`)].join(" · ");
    playback.open(chosen);
    drawTracks();
  }

  function drawTracks() {
    playback.redraw();
    previous.disabled = chosen === shown[0];
    next.disabled = chosen === shown.at(-1);
    stage.classList.toggle("without-media", !chosen.media);
    drawAxis();
    playback.read(showNow);
    rows.replaceChildren(...chosen.found.map(oneEvent));
    nothing.hidden = chosen.found.length > 0;
    if (chosen.others.length) {
      const heading = h("summary", null, `${chosen.others.length} ${chosen.found.length ? "other " : ""}event${chosen.others.length === 1 ? "" : "s"} that ${chosen.others.length === 1 ? "was" : "were"} not found`);
      const more = h("details", { class: "others", open: openOthers, ontoggle: () => {
        openOthers = more.open;
        if (more.open && more.children.length === 1) {
          more.append(...chosen.others.map(oneEvent));
          playback.reread();
        }
      } }, heading);
      rows.append(more);
    }
    playback.move();
  }

  function drawAxis() {
    const unit = spacing(chosen.length, narrow ? 5 : 10);
    const marks = [];
    for (let moment = 0; moment <= chosen.length + 1e-9; moment += unit) {
      const mark = h("span", null, String(moment));
      mark.style.left = `${chosen.length ? (100 * moment) / chosen.length : 0}%`;
      marks.push(mark);
    }
    axis.replaceChildren(...marks);
  }

  /** An event of the video: its name, which leads to where it begins, and a lane for each track. */
  function oneEvent({ event, lanes, first, found }) {
    const size = chosen.length;
    const block = trackBlock(playback, { heading: null, headed: false, segments: chosen.segments, lasts: size, lanes: lanes.map((lane, m) => ({
      label: tracks[m], dot: dot(m), color: color(m), ...laneOf(event, m, lane, size) })) });
    block.style.setProperty("--rows", tracks.length);
    const name = found ? h("button", { type: "button", class: "event-name", title: `Go to ${clean(first)} s`, onclick: () => playback.seek(first) }, breakable(events[event])) : breakable(events[event]);
    const section = h("section", { class: "event", "aria-label": events[event] }, h("h3", { dir: "auto" }, name), block);
    [...block.querySelectorAll(".lanes > .lane")].forEach((element, m) => { if (lanes[m]) answering(element, lanes[m], `${events[event]}, ${tracks[m]}`); });
    playback.read((t) => section.classList.toggle("is-on", lanes.some((lane) => at(lane, t) !== undefined)));
    return section;
  }

  function laneOf(event, m, lane, size) {
    const named = `${events[event]}, ${tracks[m]}`;
    if (!lane) return { kind: "unknown", bars: [h("span", { class: "unknown-text" }, "not known")], said: `${named}: not known, the video has no such track` };
    const best = Math.max(0, ...lane.intervals.map(([, , confidence]) => confidence));
    const bars = lane.intervals.map(([from, to, confidence]) => {
      const element = bar("bar found", from, to, size, `${named}: ${clean(from)} to ${clean(to)} s, ${confidenceOf(confidence)}`);
      if (scored) element.style.opacity = String(0.25 + 0.75 * Math.max(0, best ? confidence / best : 0));
      return [confidence, element];
    });
    if (scored) bars.sort(([one], [other]) => one - other); // the best one on top
    return { bars: bars.map(([, element]) => element), points: lane.points, likely: lane.likely, likelySaid: `probability in the whole video, ${tracks[m]}`,
      shown: (chosen.length / (chosen.segments * seconds)) || 1, said: `${named}: ${spokenSpans(lane.intervals)}` };
  }

  /** The interval of a lane in a segment, undefined if there is none: the first that covers most of it. */
  function at(lane, t) {
    const middle = Math.min((t + .5) * seconds, (t * seconds + chosen.length) / 2);
    return lane?.intervals.find(([from, to]) => from <= middle && middle < to);
  }

  /** Let a lane be reached by the keyboard, moved in by its keys, and say the probability at the cursor. */
  function answering(element, lane, name) {
    const tip = h("span", { class: "tip", "aria-hidden": "true" });
    element.append(tip);
    for (const [attribute, value] of Object.entries({ role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": clean(chosen.length), "aria-label": `${name}: ${spokenSpans(lane.intervals)}` })) element.setAttribute(attribute, value);
    element.addEventListener("keydown", (key) => {
      if (key.key === "Enter" && !modified(key) && lane.intervals.length) {
        const moment = playback.at();
        playback.seek((lane.intervals.find(([from]) => from > moment + 1e-6) ?? lane.intervals[0])[0]);
      } else if (playback.seekBy(key)) key.stopPropagation();
    });
    playback.read((t) => {
      const percent = pointAt(lane.points, t, chosen.segments);
      const inside = at(lane, t) !== undefined;
      const from = t * seconds;
      const said = `${clean(from)} to ${clean(Math.min(from + seconds, chosen.length))} s: probability ${percent} %${inside ? ", found" : ""}`;
      tip.textContent = `${percent} %${inside ? " · found" : ""}`;
      element.setAttribute("aria-valuenow", clean(from));
      element.setAttribute("aria-valuetext", said);
    });
  }

  /** What is found at the cursor, track by track. */
  function showNow(t) {
    const from = t * seconds;
    const time = h("p", { class: "when" }, `${clean(from)} to ${clean(Math.min(from + seconds, chosen.length))} s`);
    now.replaceChildren(time, ...tracks.map((track, m) => {
      const here = chosen.found.filter(({ lanes }) => at(lanes[m], t) !== undefined);
      const said = chosen.missing.includes(m) ? "not known" : here.length ? null : "nothing";
      const group = h("div", { class: "toned" }, h("h3", null, dot(m), track), said ? h("p", { class: "none" }, said)
        : h("ul", null, here.map(({ event, lanes }) => h("li", null, h("span", { dir: "auto" }, events[event]), h("b", null, `${pointAt(lanes[m].points, t, chosen.segments)} %`)))));
      group.style.setProperty("--c", color(m));
      return group;
    }));
  }

  /* the list of videos */

  const list = byId("list");
  const form = byId("filters");
  const search = h("input", { type: "search", name: "search", placeholder: "Name …", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false",
    oninput: () => { state.search = search.value; refresh(); } });
  const anywhere = events.map((_, event) => event).filter((event) => listed.some((video) => video.found.some((one) => one.event === event)));
  const select = h("select", { name: "event", onchange: () => { state.event = Number(select.value); refresh(); } },
    h("option", { value: "-1" }, "any"), anywhere.map((event) => h("option", { value: String(event) }, events[event])));
  form.append(h("label", { class: "wide" }, h("span", null, "Search"), search), h("label", null, h("span", null, "Event"), select));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = byId("side").hidden = !several;
  byId("browser").classList.toggle("alone", !several);

  for (const video of listed) {
    const names = video.found.map(({ event }) => events[event]);
    video.row = h("div", { role: "option", id: `video-${video.number}`, "aria-selected": "false", onclick: () => { choose(video); list.focus({ preventScroll: true }); } },
      h("span", { class: "what" }, shortened(video.name)), h("span", { class: "score" }, duration(video.length)),
      h("span", { class: "chips", title: names.join(", ") }, names.length ? names.join(" · ") : "nothing found"));
  }

  const passes = (video) => video.name.toLowerCase().includes(state.search.toLowerCase())
    && (state.event < 0 || video.found.some(({ event }) => event === state.event));

  function refresh() {
    shown = listed.filter(passes);
    list.replaceChildren(...shown.map(({ row }) => row));
    byId("count").textContent = shown.length === videos.length ? `${videos.length} videos` : `${shown.length} of ${videos.length} videos`;
    const before = chosen;
    choose(shown.find((video) => video.name === state.video) ?? shown[0] ?? null);
    if (chosen && chosen === before) {
      previous.disabled = chosen === shown[0];
      next.disabled = chosen === shown.at(-1);
    }
  }

  function step(by) {
    if (shown.length) choose(shown[Math.max(0, Math.min(shown.length - 1, shown.indexOf(chosen) + by))]);
  }

  /* the part of the state that a link keeps */

  const saveSoon = soon(() => {
    const kept = new URLSearchParams();
    if (several && state.video !== null) kept.set("video", state.video);
    if (state.event >= 0) kept.set("event", events[state.event]);
    if (state.search) kept.set("search", state.search);
    if (several) history.replaceState(null, "", `#${kept}`);
  });

  function restore() {
    const kept = new URLSearchParams(location.hash.slice(1));
    const event = events.indexOf(kept.get("event"));
    Object.assign(state, { video: kept.get("video"), event: anywhere.includes(event) ? event : -1, search: kept.get("search") ?? "" });
    search.value = state.search;
    select.value = String(state.event);
  }

  /* keys */

  stepByKeys(list, step, () => shown.length);
  document.addEventListener("keydown", (key) => {
    if (modified(key)) return;
    if (key.key === "Escape" && key.target === search) {
      key.preventDefault();
      if (search.value) { search.value = state.search = ""; refresh(); } else list.focus();
      return;
    }
    if (typing(key.target)) return;
    if (key.key === "/" && several) {
      key.preventDefault();
      search.focus();
      search.select();
    } else if (key.key === "j") step(1);
    else if (key.key === "k") step(-1);
    else if (playback.playsAt(key)) {
      key.preventDefault();
      playback.toggle();
    } else if (["ArrowLeft", "ArrowRight"].includes(key.key) && !key.target.matches("video, input, select")) playback.seekBy(key);
  });

  restore();
  refresh();
  addEventListener("hashchange", () => {
    if (byId(location.hash.slice(1))) return; // a part of the page
    restore();
    refresh();
  });
}

const foundEvents = new Set(listed.flatMap((video) => video.found.map(({ event }) => event)));
writeFacts([
  ...(several ? [["Videos", String(videos.length)]] : []),
  [several ? "Duration in all" : "Duration", duration(wholeLength)],
  ["Events found", `${foundEvents.size} of ${events.length}`],
  ["Segments", `${clean(seconds)} s each`],
]);
if (content.madeBy.length) byId("foot").append(h("dl", null, content.madeBy.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))));
timelines();
