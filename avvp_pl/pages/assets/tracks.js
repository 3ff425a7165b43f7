/** A number of seconds without needless digits. */
const clean = (value) => String(Number(value.toFixed(2)));

/** Intervals [from, to] in seconds, as a reader says them. */
const spokenSpans = (spans) => (spans.length ? spans.map(([on, off]) => `${clean(on)} to ${clean(off)} s`).join(", ") : "nothing");

/** A probability in percent, of two digits, as a number: .07 */
const digits = (percent) => `.${String(percent).padStart(2, "0")}`;

/** The percentages that are written down with two digits each. */
const pointsOf = (text) => (text.match(/../g) ?? []).map(Number);

/** Where a text of 0 and 1 has its runs of 1: [from, to]. */
function runs(bits) {
  return [...bits.matchAll(/1+/g)].map((found) => [found.index, found.index + found[0].length]);
}

/** How many units there are from one vertical line to the next, so that a long video has at most `most` lines. */
function spacing(units, most = 40) {
  let step = 1;
  for (let place = 0; units > most * step; place += 1) step = [1, 2, 5][place % 3] * 10 ** Math.floor(place / 3);
  return step;
}

/** A bar in a lane from `on` to `off` of `size`. */
function bar(name, on, off, size, tip) {
  const element = h("i", { class: name, title: tip });
  element.style.left = `${(100 * on) / size}%`;
  element.style.width = `${(100 * (off - on)) / size}%`;
  return element;
}

/** The point of a curve at a segment: a long curve has fewer points than there are segments. */
const pointAt = (points, t, segments) => points[Math.min(points.length - 1, Math.floor(((t + .5) * points.length) / segments))];

/** The curve of probabilities in percent, one step each; `shown` is the part of it that is in the picture. */
function steps(percents, shown = 1) {
  const picture = draw("svg", { viewBox: `0 0 ${percents.length * shown} 100`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const line = percents.map((percent, t) => `${t ? "V" : "M0 "}${100 - percent}H${t + 1}`).join("");
  picture.append(draw("path", { class: "area", d: `${line}V100H0Z` }), draw("path", { class: "half", d: `M0 50H${percents.length}` }), draw("path", { class: "line", d: line }));
  return picture;
}

/**
 * A player, a slider, and a cursor through all tracks in `rows`, which go together; without media, the other two do.
 * `seconds` is the duration of a segment, and `lost(media, name)` says what to do about a file that cannot be played.
 */
function playing(rows, seconds, lost) {
  const player = h("video", { controls: true, preload: "metadata", playsinline: true });
  const trouble = h("p", { class: "trouble", role: "alert" });
  const screen = h("div", { class: "screen" }, player, trouble);
  const time = h("input", { type: "range", class: "time", min: "0", step: "any", "aria-label": "Time in the video" });
  const clock = h("span", { class: "clock" });
  let video = null; // what is open: its name, media, number of segments, and length in seconds
  let at = 0; // seconds
  let over = null; // where the mouse is
  let segment = -1;
  let readers = []; // what shows the values at the cursor

  /** Open another video, at its beginning. */
  function open(another) {
    video = another;
    at = 0;
    over = null;
    trouble.textContent = "";
    screen.hidden = !video.media;
    player.hidden = false;
    screen.classList.remove("sound");
    player.pause();
    if (video.media) {
      player.setAttribute("src", video.media);
      player.setAttribute("aria-label", `Media of ${video.name}`);
    } else player.removeAttribute("src");
    player.load();
    time.max = String(video.length);
  }

  function close() {
    player.pause();
    video = null;
  }

  /** Forget the tracks, which are drawn again. */
  function redraw() {
    readers = [];
    segment = -1;
  }

  /** Call `read(segment)` whenever another segment is at the cursor. */
  const read = (reader) => readers.push(reader);

  /** Call all of them, because some are new. */
  function reread() {
    segment = -1;
    move();
  }

  /** The segment at the cursor; -1 in a video without segments. */
  const segmentAt = (moment) => Math.min(video.segments - 1, Math.floor(moment / seconds + 1e-9));

  function seek(moment) {
    if (!video) return;
    at = Math.max(0, Math.min(video.length, moment));
    if (video.media && player.readyState > 0) player.currentTime = at;
    move();
  }

  function hover(moment) {
    over = moment;
    move();
  }

  /** Go to the next or previous bound of a segment (by 1 or -1). */
  function stepSegment(by) {
    const whole = Math.round(at / seconds * 1e6) / 1e6;
    seek((by > 0 ? Math.floor(whole) + 1 : Math.ceil(whole) - 1) * seconds);
  }

  /** Seek by the keys of a slider; whether the key was one of them. */
  function seekBy(key) {
    if (modified(key)) return false;
    const act = { ArrowRight: () => stepSegment(1), ArrowUp: () => stepSegment(1), ArrowLeft: () => stepSegment(-1), ArrowDown: () => stepSegment(-1),
      Home: () => seek(0), End: () => seek(video?.length ?? 0) }[key.key];
    if (!act) return false;
    key.preventDefault();
    act();
    return true;
  }

  /** Show the time everywhere. */
  function move() {
    if (!video) return;
    if (!video.length) {
      clock.textContent = "0.0 / 0 s";
      return;
    }
    rows.style.setProperty("--at", at / video.length);
    rows.style.setProperty("--over", over === null ? -1 : over / video.length);
    rows.classList.toggle("hovered", over !== null);
    time.value = String(at);
    time.style.setProperty("--at", at / video.length);
    const now = over ?? at;
    clock.textContent = `${now.toFixed(1)} / ${clean(video.length)} s`;
    time.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${clean(video.length)} seconds`);
    const t = segmentAt(now);
    if (t !== segment) {
      segment = t;
      readers.forEach((reader) => reader(t));
    }
  }

  function follow() {
    if (!video?.media || player.readyState === 0) return;
    at = Math.min(player.currentTime, video.length);
    move();
  }

  function everyFrame() {
    follow();
    if (!player.paused && !player.ended) requestAnimationFrame(everyFrame);
  }

  /** Whether a key is to play or pause: space, where it does nothing else. */
  const playsAt = (key) => key.key === " " && Boolean(video?.media) && !player.hidden && !key.target.matches("button, a, summary, video, input:not([type=range])");

  function toggle() {
    if (player.paused) player.play().catch(() => {}); // the error event reports a file that cannot be played
    else player.pause();
  }

  /** Where a pointer is in lanes, in seconds. */
  function moment(lanes, pointer) {
    const box = lanes.getBoundingClientRect();
    return Math.max(0, Math.min(1, (pointer.clientX - box.left) / box.width)) * (video?.length ?? 0);
  }

  /** Seek where lanes are pressed, and show the values where the mouse is. */
  function follows(lanes) {
    lanes.addEventListener("pointerdown", (press) => {
      if (press.button !== 0) return;
      lanes.setPointerCapture(press.pointerId);
      over = null;
      seek(moment(lanes, press));
    });
    lanes.addEventListener("pointermove", (pointer) => {
      if (lanes.hasPointerCapture(pointer.pointerId)) seek(moment(lanes, pointer));
      else if (pointer.pointerType === "mouse") hover(moment(lanes, pointer));
    });
    lanes.addEventListener("pointerleave", () => hover(null));
  }

  player.addEventListener("play", everyFrame);
  for (const name of ["timeupdate", "seeking", "seeked", "pause"]) player.addEventListener(name, follow);
  player.addEventListener("loadedmetadata", () => {
    screen.classList.toggle("sound", !player.videoWidth);
    if (at > 0) player.currentTime = at;
  });
  player.addEventListener("error", () => {
    if (!video?.media || !player.hasAttribute("src")) return;
    player.hidden = true;
    trouble.textContent = lost(video.media, video.name);
  });
  time.addEventListener("input", () => seek(Number(time.value)));
  time.addEventListener("keydown", seekBy);

  return { screen, time, clock, at: () => at, open, close, redraw, read, reread, seek, seekBy, move, playsAt, toggle, follows };
}

/**
 * Lanes over time, one below the other, with their labels, the probabilities in the whole video, and those at the cursor.
 *
 * A lane has a `label`, a `dot`, a `color` (null: that of ink), `bars`, what is `said` of it, and possibly a `kind` (a
 * class), the `points` of its curve in percent (and which part of them is `shown`), and how `likely` it is in the whole video, in percent, with a text that
 * says so. There are so many `segments`, and the lanes last for `lasts` units, which have vertical lines between them.
 */
function trackBlock(playback, { heading, lanes, segments, lasts, headed }) {
  const columns = { labels: h("div", { class: "labels" }), ofVideo: h("div", { class: "of-video" }), lanes: h("div", { class: "lanes" }),
    values: h("div", { class: "values", "aria-hidden": "true" }) };
  columns.lanes.style.setProperty("--lines", lasts / spacing(lasts));
  for (const one of lanes) {
    const kind = ["lane", one.kind, one.points ? "with-curve" : null].filter(Boolean).join(" ");
    const lane = h("div", { class: kind, role: "img", "aria-label": one.said });
    const name = h("div", { class: kind }, one.dot, h("span", { class: "text", title: one.label }, breakable(one.label)));
    const value = h("div", { class: kind });
    const likely = h("div", { class: kind });
    if (one.color) for (const element of [lane, name]) element.style.setProperty("--c", one.color);
    if (one.points) {
      likely.append(h("span", { class: one.likely >= 50 ? "likely yes" : "likely", title: `${one.label}: ${one.likelySaid} ${one.likely} %` }, hidden(`${one.likelySaid} `), digits(one.likely)));
      if (one.points.length) lane.append(steps(one.points, one.shown));
      playback.read((t) => {
        const percent = pointAt(one.points, t, segments);
        value.textContent = digits(percent);
        value.classList.toggle("yes", percent >= 50);
      });
    }
    lane.append(...one.bars);
    columns.labels.append(name);
    columns.ofVideo.append(likely);
    columns.lanes.append(lane);
    columns.values.append(value);
  }
  playback.follows(columns.lanes);
  return h("div", { class: "block" }, headed ? h("span", { class: "head left", "aria-hidden": "true" }, "video") : null, heading === null ? null : h("h5", null, heading),
    headed ? h("span", { class: "head right", "aria-hidden": "true" }, "cursor") : null, columns.labels, columns.ofVideo, columns.lanes, columns.values);
}
