"use strict";
(() => {
  /* Small things */
  const $ = (id) => document.getElementById(id);
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
  const two = (value) => String(value).padStart(2, "0");
  const clock = (seconds) => {
    const whole = Math.floor(seconds);
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  };
  const long = (seconds) => (seconds < 60 ? `${seconds.toFixed(1)} s` : clock(seconds));
  const count = (number, word, many = `${word}s`) => `${number.toLocaleString("en")} ${number === 1 ? word : many}`;
  const same = (one, other) => one.toLowerCase() === other.toLowerCase();

  const SOMEBODY = 0, UNKNOWN = 1, JUNK = 2, SETTLED = 3; // what a track is, as the server says
  const NOBODY = "#nobody", NO_FACE = "#junk"; // entries beside the people
  const NEW = "#new";
  const DOUBT = 0.5; // confidence below which a track is marked
  const POLL = 3000; // milliseconds

  let title = null; // what never changes
  let state = null; // who is who
  let order = []; // rows of tracks by time
  let groups = new Map(); // rows of tracks by person or entry
  let people = new Map(); // by id
  let entry = ""; // who is shown
  let picked = new Set(); // rows of tracks
  let anchor = -1; // where a range of picked tracks begins
  let questions = [];
  let question = null;
  let entered = false; // the question was read out
  let acted = false; // what was done is still to be read with the question that follows
  const skipped = new Set();

  /* The server */
  const send = async (path, body) => {
    const options = body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    };
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      throw new Error("vcn review does not answer: start it again, and open the address that it prints");
    }
    if (response.headers.get("Content-Type")?.startsWith("application/json")) {
      const content = await response.json();
      if (!response.ok) throw new Error(content.error);
      return content;
    }
    return response;
  };
  const home = (id = title.title_id) => `api/titles/${encodeURIComponent(id)}`;
  const say = (text) => { $("said").textContent = text; };
  const complain = (error) => {
    $("error").textContent = error ? error.message || String(error) : "";
    $("error").hidden = !error;
  };
  const trying = (work) => async (...given) => {
    try {
      return await work(...given);
    } catch (error) {
      complain(error);
      return undefined;
    }
  };

  const face = (row, number = title.best[row]) =>
    `${home()}/face/${row}/${number}?${encodeURIComponent(title.result)}`;
  const picture = (row) => {
    if (row === undefined || !title.pictures[row]) return make("span", { className: "none", textContent: "–" });
    return make("img", { src: face(row), alt: "", decoding: "async", draggable: false });
  };
  const numbered = (id) => (/^p\d+$/.test(id) ? `Person ${Number(id.slice(1))}` : `New person ${id.replace(/^r-/, "")}`);
  const worded = (text) => text.replace(/\b(p\d{3,}|r-[0-9a-f]{8})\b/g, (id) => called(id)); // of the server
  const called = (id) => people.get(id)?.name || numbered(id);

  /* A list or grid of which only what is seen is in the page; its options are chosen by keys. */
  class Windowed {
    constructor(host, { height, width, draw, move }) {
      Object.assign(this, { host, height, width, draw, move, items: [], active: 0, shown: new Map() });
      this.room = make("div", { className: "room", role: "presentation" });
      host.append(this.room);
      host.addEventListener("scroll", () => this.render(), { passive: true });
      new ResizeObserver(() => { this.measure(); this.render(); }).observe(host);
      this.measure();
    }

    measure() {
      this.unit = rem();
      const room = this.host.clientWidth;
      const columns = this.width ? Math.max(1, Math.floor(room / (this.width * this.unit))) : 1;
      if (columns !== this.columns) this.drop();
      this.columns = columns;
      this.step = this.height * this.unit;
    }

    drop() {
      this.shown.forEach((element) => element.remove());
      this.shown.clear();
    }

    /** Shows other items; `key` names an item, so that its element stays. */
    set(items, key) {
      this.items = items;
      this.key = key;
      this.active = Math.min(Math.max(this.active, 0), Math.max(items.length - 1, 0));
      this.render(true);
    }

    render(again = false) {
      const lines = Math.ceil(this.items.length / this.columns);
      this.room.style.height = `${lines * this.step}px`;
      const view = this.host.clientHeight || 600;
      const from = Math.max(0, Math.floor(this.host.scrollTop / this.step) - 2);
      const to = Math.min(lines, Math.ceil((this.host.scrollTop + view) / this.step) + 2);
      const wanted = new Map();
      for (let at = from * this.columns; at < Math.min(to * this.columns, this.items.length); at += 1) {
        wanted.set(this.key(this.items[at]), at);
      }
      this.shown.forEach((element, key) => {
        if (!wanted.has(key)) { element.remove(); this.shown.delete(key); }
      });
      wanted.forEach((at, key) => {
        let element = this.shown.get(key);
        const fresh = !element;
        if (fresh) {
          element = make("div", { role: "option", id: `${this.host.id}-${key}` });
          this.shown.set(key, element);
          this.room.append(element);
        }
        if (fresh || again) this.draw(this.items[at], element, at);
        element.style.top = `${Math.floor(at / this.columns) * this.step}px`;
        if (this.width) element.style.left = `${(at % this.columns) * this.width * this.unit}px`;
        element.dataset.at = at;
        element.setAttribute("aria-posinset", at + 1);
        element.setAttribute("aria-setsize", this.items.length);
        element.classList.toggle("active", at === this.active);
      });
      const active = this.items.length ? this.shown.get(this.key(this.items[this.active])) : null;
      if (active) this.host.setAttribute("aria-activedescendant", active.id);
      else this.host.removeAttribute("aria-activedescendant");
    }

    /** Makes an item the active one, and scrolls to it. */
    go(at, { quiet = false, extend = false } = {}) {
      if (!this.items.length) return;
      this.active = Math.min(Math.max(at, 0), this.items.length - 1);
      const top = Math.floor(this.active / this.columns) * this.step;
      const view = this.host.clientHeight;
      if (top < this.host.scrollTop) this.host.scrollTop = top;
      else if (top + this.step > this.host.scrollTop + view) this.host.scrollTop = top + this.step - view;
      this.render();
      if (!quiet) this.move?.(this.items[this.active], extend);
    }

    key_(event) {
      const page = Math.max(1, Math.floor(this.host.clientHeight / this.step)) * this.columns;
      const next = {
        ArrowUp: this.active - this.columns, ArrowDown: this.active + this.columns,
        ArrowLeft: this.width ? this.active - 1 : undefined, ArrowRight: this.width ? this.active + 1 : undefined,
        Home: 0, End: this.items.length - 1, PageUp: this.active - page, PageDown: this.active + page,
      }[event.key];
      if (next === undefined) return false;
      event.preventDefault();
      const short = Math.abs(next - this.active) < page && (next < 0 || next >= this.items.length);
      this.go(short && this.columns > 1 ? this.active : next, { extend: event.shiftKey });
      return true;
    }

    at(event) {
      const element = event.target.closest?.("[role=option]");
      return element && this.host.contains(element) ? Number(element.dataset.at) : -1;
    }
  }

  /* People */
  const drawPerson = (id, element) => {
    const person = people.get(id);
    const special = id.startsWith("#");
    element.className = `row${!special && !person.name ? " unnamed" : ""}`;
    element.dataset.id = id;
    const rows = groups.get(id) || [];
    const name = id === NOBODY ? "Faces of nobody" : id === NO_FACE ? "No face" : called(id);
    const marks = special ? [] : [
      person.known && `in the catalog: ${person.known.name}`, person.locked && "locked", person.nobody && "nobody I know",
    ].filter(Boolean);
    const facts = special
      ? count(rows.length, "track")
      : [long(person.seconds), count(person.tracks, "track"), ...marks].join(" · ");
    const cover = special ? rows[0] : person.cover;
    const drawn = `${name}|${facts}|${cover}`;
    if (element.dataset.drawn === drawn) return;
    element.dataset.drawn = drawn;
    element.replaceChildren(
      picture(cover),
      make("div", {}, make("strong", { textContent: name }), make("small", { textContent: facts })),
    );
  };
  const list = new Windowed($("people"), {
    height: 3.6, draw: (id, element) => {
      drawPerson(id, element);
      element.setAttribute("aria-selected", String(id === entry));
    },
    move: (id) => show(id),
  });

  const listed = () => {
    const wanted = $("filter").value.trim().toLowerCase();
    const fits = (person) => !wanted || called(person.id).toLowerCase().includes(wanted) || person.id.includes(wanted);
    const found = state.people.filter(fits);
    const sort = $("sort").value;
    if (sort === "name") found.sort((a, b) => called(a.id).localeCompare(called(b.id), undefined, { numeric: true }));
    if (sort === "unnamed") found.sort((a, b) => Number(Boolean(a.name || a.nobody)) - Number(Boolean(b.name || b.nobody)));
    const beside = wanted ? [] : [NOBODY, NO_FACE].filter((id) => groups.get(id)?.length);
    return [...beside, ...found.map((person) => person.id)];
  };
  const showList = () => {
    list.set(listed(), (id) => id);
    const at = list.items.indexOf(entry);
    if (at >= 0 && at !== list.active) { list.active = at; list.render(); }
  };

  /* Faces */
  const drawTrack = (row, element) => {
    element.className = "tile";
    const doubt = state.kind[row] === SOMEBODY && title.confidence[row] < DOUBT && !decided.has(row);
    element.classList.toggle("doubt", doubt);
    element.setAttribute("aria-selected", String(picked.has(row)));
    if (element.dataset.row === String(row)) return;
    element.dataset.row = row;
    const video = title.videos.length > 1 ? `${title.videos[title.video[row]]}, ` : "";
    const when = clock(title.start[row]);
    const lasts = long(title.end[row] - title.start[row]);
    element.setAttribute("aria-label", `${video}at ${when}, ${lasts}${doubt ? ", uncertain" : ""}`);
    element.replaceChildren(picture(row), make("small", { textContent: `${when} · ${lasts}` }),
      make("small", { textContent: video ? title.videos[title.video[row]] : doubt ? "uncertain" : "" }));
    element.title = `${video}${when}, track ${title.track[row]}`;
  };
  let decided = new Set();
  const grid = new Windowed($("faces"), {
    height: 9, width: 7, draw: drawTrack,
    move: (row, extend) => { if (extend) range(row); },
  });
  const showPicked = () => {
    grid.render(true);
    const seconds = [...picked].reduce((sum, row) => sum + title.end[row] - title.start[row], 0);
    $("picked").textContent = picked.size ? `${count(picked.size, "track")} picked, ${long(seconds)}` : "";
    showActions();
  };
  const pick = (row) => {
    if (picked.has(row)) picked.delete(row); else picked.add(row);
    anchor = grid.items.indexOf(row);
    showPicked();
    say(`${picked.has(row) ? "Picked" : "Not picked"}; ${count(picked.size, "track")} in all`);
  };
  const range = (row) => {
    const at = grid.items.indexOf(row);
    if (anchor < 0) anchor = at;
    grid.items.slice(Math.min(anchor, at), Math.max(anchor, at) + 1).forEach((each) => picked.add(each));
    showPicked();
    say(`${count(picked.size, "track")} picked`);
  };
  const pickAll = (all) => {
    picked = new Set(all ? grid.items : []);
    anchor = -1;
    showPicked();
    say(all ? `All ${count(picked.size, "track")} picked` : "Nothing picked");
  };
  /** What an action is about: the picked tracks; or the active one where single tracks are asked for. */
  const chosen = () => {
    if (picked.size) return [...picked];
    const row = grid.items[grid.active];
    return row === undefined ? [] : [row];
  };

  /* The person who is shown */
  const showDetail = () => {
    const person = people.get(entry);
    const rows = groups.get(entry) || [];
    $("who").textContent = person ? called(entry) : entry === NO_FACE ? "No face" : "Faces of nobody";
    const first = rows[0];
    $("facts").textContent = person
      ? `${long(person.seconds)} on screen · ${count(person.tracks, "track")} · first at ${clock(title.start[first] || 0)}`
        + `${person.known ? ` · in the catalog: ${person.known.name}` : ""}${person.locked ? " · locked" : ""}${person.nobody ? " · nobody I know" : ""} · ${person.id}`
      : `${count(rows.length, "track")}${entry === NO_FACE ? ": something else was taken for a face" : ": too unclear to tell whose they are"}`;
    const cover = person ? person.cover : undefined;
    const seen = cover !== undefined && title.pictures[cover] > 0;
    $("cover").hidden = !seen;
    if (seen && $("cover").dataset.row !== String(cover)) $("cover").src = face(cover);
    $("cover").dataset.row = seen ? cover : "";
    if (document.activeElement !== $("new-name")) $("new-name").value = person?.name || "";
    $("naming").hidden = entry === NO_FACE;
    grid.set(rows, (row) => row);
    showPicked();
  };
  const showActions = () => {
    const person = people.get(entry);
    const some = picked.size > 0;
    const button = (what) => document.querySelector(`[data-do="${what}"]`);
    const key = (letter) => make("kbd", { textContent: letter });
    button("merge").replaceChildren(some || !person ? "Move to… " : "Merge with… ", key("M"));
    button("lock").replaceChildren(person?.locked ? "Unlock " : "Lock ", key("L"));
    button("lock").disabled = !person?.name;
    button("split").disabled = !some;
    button("no_face").disabled = !some;
    button("merge").disabled = !(person || some);
    button("nobody").disabled = entry === NO_FACE || (!person && picked.size !== 1);
    button("play").disabled = !grid.items.length;
  };
  const show = (id, { focus = false } = {}) => {
    if (id !== entry) {
      entry = id;
      picked = new Set();
      anchor = -1;
      grid.active = 0;
      $("faces").scrollTop = 0;
    }
    showDetail();
    list.render(true);
    const at = list.items.indexOf(id);
    if (at >= 0) list.go(at, { quiet: true });
    if (focus) $("faces").focus();
  };

  /* Who is who */
  const take = (next) => {
    if (next.result !== title.result) { load(); return; } // a run has made other tracks
    const [run, change] = next.version.split("-");
    if (state) {
      const [before, seen] = state.version.split("-");
      if (run === before && Number(change) < Number(seen)) return; // an answer that was overtaken
    }
    state = next;
    people = new Map(state.people.map((person) => [person.id, person]));
    decided = new Set(state.decided);
    groups = new Map();
    order.forEach((row) => {
      const kind = state.kind[row];
      const id = kind === SOMEBODY ? state.people[state.person[row]].id : kind === JUNK ? NO_FACE : NOBODY;
      if (!groups.has(id)) groups.set(id, []);
      groups.get(id).push(row);
    });
    if (!groups.has(entry)) entry = state.people[0]?.id || NOBODY;
    const mine = new Set(groups.get(entry));
    picked = new Set([...picked].filter((row) => mine.has(row)));
    showList();
    showDetail();
    showProgress();
    ask();
  };
  const showProgress = () => {
    const done = state.people.filter((person) => person.name || person.nobody);
    const total = state.people.reduce((sum, person) => sum + person.seconds, 0);
    const part = done.reduce((sum, person) => sum + person.seconds, 0);
    const parts = [`${done.length} of ${count(state.people.length, "person", "people")} known`];
    if (total) parts.push(`${Math.round((100 * part) / total)} % of the time`);
    if (state.conflicts.length) parts.push(`${count(state.conflicts.length, "decision does", "decisions do")} not fit: see History`);
    $("progress").textContent = parts.join(" · ");
    $("undo").disabled = !state.undo;
    $("undo").title = state.undo ? `Undo: ${worded(state.undo)}` : "";
  };

  const decide = trying(async (decision, words) => {
    complain(null);
    const { state: next } = await send(`${home()}/decisions`, decision);
    take(next);
    say(words);
    acted = true;
    return true;
  });
  const ids = (rows) => rows.map((row) => title.track[row]);
  const merge = async (one, into) => {
    const words = `${called(one)} is now a part of ${called(into)}`;
    const follow = entry === one;
    if (await decide({ do: "merge", who: one, into }, words) && follow) show(into);
  };
  const moveTo = async (rows, into) => {
    const words = `${count(rows.length, "track")} moved to ${into ? called(into) : "a new person"}`;
    const before = new Set(people.keys());
    if (!(await decide({ do: "move", tracks: ids(rows), into }, words))) return;
    const made = into ? undefined : state.people.find((person) => !before.has(person.id));
    if (made) say(`${words}: ${called(made.id)}. N names it`);
    if (made && !groups.get(entry)?.length) show(made.id);
  };
  const noFace = (rows) => decide(
    { do: "no_face", tracks: ids(rows) }, `${count(rows.length, "track")} marked as no face`);
  const rename = async (name) => {
    const person = people.get(entry);
    const who = person ? entry : title.track[chosen()[0]];
    if (who === undefined) return;
    const words = name ? `${person ? numbered(entry) : "The track"} is ${name}` : "The name is removed";
    if (!(await decide({ do: "name", who, name }, words))) return;
    const row = title.track.indexOf(who);
    const now = person ? entry : state.people[state.person[row]]?.id;
    if (now && now !== entry) show(now);
    loadNames();
    const twin = name && state.people.find((each) => each.id !== now && same(each.name, name));
    if (twin) {
      const [one, into] = people.get(now).seconds > twin.seconds ? [twin.id, now] : [now, twin.id];
      question = { ask: "merge", person: one, other: into, tracks: [], twin: true };
      entered = true;
      showQuestion();
      say(`${words}. Two people are called ${name}: are they one? Y or A answers`);
    }
  };
  const undo = async () => {
    if (!(await decide({ do: "undo" }, `Undone: ${worded(state.undo)}`))) return;
    done.clear(); // a question whose answer is undone is asked again
    question = null;
  };

  /* Questions */
  const nameOf = (each) => `${each.ask} ${each.person} ${each.other} ${each.tracks.join()}`;
  let asking = 0;
  const ask = () => {
    clearTimeout(asking);
    asking = setTimeout(trying(async () => {
      const version = state.version;
      const found = await send(`${home()}/suggestions`);
      if (version !== state.version) return;
      questions = found;
      const kept = question && (question.twin || questions.some((each) => nameOf(each) === nameOf(question)));
      const alive = question && [question.person, question.other].every((id) => !id || people.has(id));
      if (kept && alive && !done.has(nameOf(question))) return;
      question = next();
      const was = entered;
      entered = false;
      showQuestion();
      if (was && question) enter(acted ? `${$("said").textContent}. ` : "");
    }), 60);
  };
  const done = new Set(); // answered on this page
  const next = () => {
    const open = questions.filter((each) => !done.has(nameOf(each)));
    return open.find((each) => !skipped.has(nameOf(each))) || null;
  };
  const strip = (rows) => {
    const step = Math.max(1, Math.floor(rows.length / 3));
    const some = rows.filter((_, at) => at % step === 0).slice(0, 3);
    return make("div", { className: "side" }, ...some.filter((row) => title.pictures[row]).map(picture));
  };
  const rowsOf = (id) => [...(groups.get(id) || [])].sort((a, b) => title.end[b] - title.start[b] - title.end[a] + title.start[a]);
  const wording = (each) => {
    const one = each.person && called(each.person);
    const other = each.other && called(each.other);
    const tracks = count(each.tracks.length, "track");
    switch (each.ask) {
      case "merge": return each.twin
        ? [`Two people are called ${one}. Are they one?`, "Same person", "Two people"]
        : [`Is ${one} the same person as ${other}?`, "Same person", "Two people"];
      case "split": return [`${each.tracks.length === 1 ? "Does" : "Do"} ${tracks} belong to somebody else than ${one}?`, "Somebody else", `All are ${one}`];
      case "known": {
        const { name, title: from } = people.get(each.person)?.known || { name: one, title: "" };
        return [`Is ${one} ${name} (from ${from})?`, `Yes, ${name}`, "Somebody else"];
      }
      case "name": return [`Who is ${one}?`, "Name", "Nobody I know"];
      default: return other
        ? [`Is this ${other}?`, `Yes, ${other}`, "No, nobody I know"]
        : ["Who is this?", "Name", "Nobody I know"];
    }
  };
  const showQuestion = () => {
    const body = $("ask-body");
    if (!question) {
      body.replaceChildren(make("p", {
        className: "muted",
        textContent: skipped.size ? "No other question. Space shows those again that you skipped." : "No question is left.",
      }));
      return;
    }
    const [text, yes, no] = wording(question);
    const left = question.tracks.length ? question.tracks : rowsOf(question.person);
    const sides = [strip(left)];
    const other = question.other || (question.ask === "split" ? question.person : "");
    if (other) {
      const rest = rowsOf(other).filter((row) => !question.tracks.includes(row));
      sides.push(make("span", { className: "versus", textContent: question.ask === "split" ? "≠" : "=" , ariaHidden: "true" }), strip(rest));
    }
    if (question.ask === "known") sides.push(...knownFace(question.person));
    const key = (letter) => make("kbd", { textContent: letter });
    const buttons = make("div", { className: "tools" },
      make("button", { type: "button", className: "main", id: "yes", onclick: () => answer(true) }, `${yes} `, key("Y")),
      make("button", { type: "button", id: "no", onclick: () => answer(false) }, `${no} `, key("A")));
    if (question.ask === "assign") {
      buttons.append(make("button", { type: "button", onclick: () => answer("junk"), textContent: "No face" }));
    }
    buttons.append(
      make("button", { type: "button", id: "show-question", onclick: () => showAsked(), textContent: "Show" }),
      make("button", { type: "button", id: "skip", onclick: () => skip() }, "Skip ", key("Space")));
    const chance = question.probability === undefined || question.ask === "name" ? ""
      : `${Math.round(question.probability * 100)} % likely · `;
    const about = question.twin ? "" : `${chance}settles ${long(question.seconds)} on screen`;
    body.replaceChildren(...sides, make("div", { className: "words" },
      make("p", { id: "question", textContent: text }), make("p", { className: "muted", textContent: about }), buttons));
  };
  /** The face of somebody in another title, as far as that keeps pictures; it is read when asked for. */
  const knownFace = (person) => {
    const equals = make("span", { className: "versus", textContent: "=", ariaHidden: "true", hidden: true });
    const side = make("div", { className: "side", hidden: true });
    const path = `${home()}/known/${encodeURIComponent(person)}`;
    send(path).then((found) => {
      if (!found.picture) return;
      side.append(make("img", { src: `${path}/face`, alt: "", decoding: "async", draggable: false }));
      side.hidden = equals.hidden = false;
    }).catch(() => { /* it was answered meanwhile */ });
    return [equals, side];
  };
  const showAsked = () => {
    const id = question.person || NOBODY;
    show(id);
    if (question.tracks.length) {
      picked = new Set(question.tracks.filter((row) => grid.items.includes(row)));
      grid.go(grid.items.indexOf(question.tracks[0]), { quiet: true });
      showPicked();
    }
  };
  const enter = (before = "") => {
    entered = true;
    acted = false;
    const [text, yes, no] = wording(question);
    say(`${before}${text} Y: ${yes}. A: ${no}.`);
  };
  const skip = () => {
    if (question && !entered) { enter(); return; }
    if (question) skipped.add(nameOf(question));
    else skipped.clear();
    question = next();
    showQuestion();
    if (question) enter(); else say($("ask-body").textContent);
  };
  const answer = (given) => {
    if (!question) return undefined;
    const { ask: what, person, other, tracks } = question;
    const ended = nameOf(question);
    const end = async (work) => {
      done.add(ended);
      entered = true;
      if (!(await work)) done.delete(ended);
    };
    const named = () => {
      showAsked();
      $("new-name").focus();
      $("new-name").select();
    };
    const track = tracks.length ? title.track[tracks[0]] : "";
    if (given === "junk") return end(noFace(tracks));
    if (what === "merge") {
      return end(given ? merge(person, other).then(() => true)
        : decide({ do: "apart", who: person, into: other }, `${called(person)} and ${called(other)} are two people`));
    }
    if (what === "known") {
      const name = people.get(person)?.known?.name;
      if (!name) return undefined;
      if (!given) return end(decide({ do: "unknown", who: person }, `${called(person)} is not ${name}; the next registry keeps them apart`));
      return end(decide({ do: "name", who: person, name }, `${numbered(person)} is ${name}`).then((done_) => { loadNames(); return done_; }));
    }
    if (what === "split") {
      return end(given ? moveTo(tracks, "").then(() => true)
        : decide({ do: "move", tracks: ids(tracks), into: person }, `${count(tracks.length, "track")} confirmed`));
    }
    if (what === "name") {
      return given ? named()
        : end(decide({ do: "nobody", who: person }, `${called(person)} is nobody you know`));
    }
    if (!given) return end(decide({ do: "nobody", who: track }, "Nobody you know"));
    return other ? end(moveTo(tracks, other).then(() => true)) : named();
  };

  /* Choosing from a list in a dialog */
  let choosing = null;
  const choices = new Windowed($("choose-list"), {
    height: 3.6, draw: (item, element) => choosing?.draw(item, element),
  });
  const showChoices = () => {
    const wanted = $("choose-filter").value.trim().toLowerCase();
    choices.active = 0;
    choices.set(choosing.items.filter((item) => !wanted || choosing.label(item).toLowerCase().includes(wanted)),
      choosing.key);
    markChoice();
  };
  const markChoice = () => {
    choices.shown.forEach((element) => {
      element.setAttribute("aria-selected", String(element.classList.contains("active")));
    });
    const active = $("choose-list").getAttribute("aria-activedescendant");
    if (active) $("choose-filter").setAttribute("aria-activedescendant", active);
    else $("choose-filter").removeAttribute("aria-activedescendant");
  };
  const choose = (heading, choice) => {
    choosing = choice;
    $("choose-title").textContent = heading;
    $("choose-filter").value = "";
    $("choose-filter").placeholder = choice.find;
    $("choose-filter").setAttribute("aria-label", choice.find);
    choices.drop();
    $("choose").showModal();
    choices.measure();
    $("choose-list").scrollTop = 0;
    showChoices();
    $("choose-filter").focus();
  };
  const takeChoice = (at) => {
    const item = choices.items[at];
    $("choose").close();
    if (item !== undefined) choosing.pick(item);
  };
  $("choose-filter").addEventListener("input", showChoices);
  $("choose").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.tagName !== "BUTTON") { event.preventDefault(); takeChoice(choices.active); return; }
    if (event.target === $("choose-filter") && (event.key === "Home" || event.key === "End")) return;
    if (choices.key_(event)) markChoice();
  });
  $("choose-list").addEventListener("click", (event) => { const at = choices.at(event); if (at >= 0) takeChoice(at); });

  const choosePerson = trying(async (heading, rows, withNew, take_) => {
    const others = state.people.map((person) => person.id).filter((id) => id !== entry);
    const first = withNew ? [NEW] : [];
    const choice = {
      find: "Find a person",
      items: [...first, ...others],
      key: (id) => id, pick: take_, label: (id) => (id === NEW ? "new person" : `${called(id)} ${id}`),
      draw: (id, element) => {
        if (id !== NEW) { drawPerson(id, element); return; }
        element.className = "row";
        element.replaceChildren(make("span", { className: "none", textContent: "+" }), make("strong", { textContent: "A new person" }));
      },
    };
    choose(heading, choice); // at once, so that what is typed reaches it
    const near = (await send(`${home()}/near?tracks=${rows.slice(0, 200).join()}`)).filter((id) => id !== entry);
    if (choosing !== choice || !$("choose").open) return;
    choice.items = [...first, ...near, ...others.filter((id) => !near.includes(id))];
    if (choices.active === 0) showChoices();
  });

  const summaries = new Map();
  const chooseTitle = trying(async () => {
    const { titles } = await send("api/titles");
    summaries.clear();
    choose("Titles", {
      find: "Find a title",
      items: titles, key: (each) => each.id, label: (each) => each.name,
      pick: (each) => { location.hash = each.id; },
      draw: (each, element) => {
        element.className = "row";
        const facts = make("small", { textContent: summaries.get(each.id) || "…" });
        element.replaceChildren(make("span", { className: "none", textContent: each.name.slice(0, 1) || "?" }),
          make("div", {}, make("strong", { textContent: each.name }), facts));
        if (summaries.has(each.id)) return;
        summaries.set(each.id, "…");
        send(`${home(each.id)}/summary`).then((found) => [
          count(found.people, "person", "people"), `${found.unnamed} unnamed`, long(found.seconds),
          ...(found.conflicts ? [count(found.conflicts, "conflict")] : []),
        ].join(" · "), (error) => error.message).then((text) => {
          summaries.set(each.id, text);
          facts.textContent = text;
        });
      },
    });
  });

  /* History */
  const showHistory = trying(async () => {
    const edits = await send(`${home()}/history`);
    const lines = state.conflicts.map((text) => make("li", { className: "conflict" }, make("span", { textContent: `Does not fit: ${text}` })));
    lines.push(...edits.map((edit) => {
      const back = make("button", { type: "button", textContent: edit.counts ? "Undo" : "Redo" });
      back.setAttribute("aria-label", `${back.textContent}: ${worded(edit.what)}`);
      back.onclick = async () => {
        const what = edit.counts ? "undo" : "redo";
        if (await decide({ do: what, edit: edit.id }, `${edit.counts ? "Undone" : "Counts again"}: ${worded(edit.what)}`)) await showHistory();
      };
      const when = new Date(edit.at);
      return make("li", { className: edit.counts ? "" : "gone" }, make("span", { textContent: worded(edit.what) }), back,
        make("small", { textContent: `${edit.who}, ${Number.isNaN(when.getTime()) ? edit.at : when.toLocaleString()}${edit.note ? `: ${edit.note}` : ""}` }));
    }));
    if (!lines.length) lines.push(make("li", { textContent: "Nothing was decided yet." }));
    $("history-list").replaceChildren(...lines);
    if (!$("history").open) $("history").showModal();
    $("history-list").focus();
  });

  /* Playing */
  const play = async (row) => {
    if (row === undefined) return;
    const video = $("video");
    $("player-title").textContent = `${title.videos[title.video[row]]}, ${clock(title.start[row])}`;
    $("player-says").textContent = "The clip is being made…";
    video.hidden = true;
    $("player").showModal();
    try {
      await send(`${home()}/play/${row}`);
      if (!$("player").open) return;
      video.src = `${home()}/play/${row}`;
      video.hidden = false;
      $("player-says").textContent = "";
      await video.play();
    } catch (error) {
      if (error.name !== "AbortError") $("player-says").textContent = error.message;
    }
  };
  $("player").addEventListener("close", () => { $("video").pause(); $("video").removeAttribute("src"); $("video").load(); });

  /* Actions, by button and by key */
  const actions = {
    merge: () => {
      const person = people.get(entry);
      if (picked.size || !person) {
        const rows = chosen();
        if (rows.length) choosePerson(`Move ${count(rows.length, "track")} to`, rows, true, (id) => moveTo(rows, id === NEW ? "" : id));
        return;
      }
      choosePerson(`${called(entry)} is the same person as`, groups.get(entry), false, (id) => merge(entry, id));
    },
    split: () => (picked.size ? moveTo([...picked], "") : say("Pick the tracks of the new person first")),
    no_face: () => (picked.size ? noFace([...picked]) : say("Pick the tracks that show no face first")),
    lock: () => {
      const person = people.get(entry);
      if (!person?.name) { say("Name a person before you lock it"); return; }
      decide({ do: person.locked ? "unlock" : "lock", who: entry }, `${called(entry)} is ${person.locked ? "unlocked" : "locked"}`);
    },
    nobody: () => {
      const who = people.has(entry) ? entry : title.track[chosen()[0]];
      if (who !== undefined && entry !== NO_FACE) decide({ do: "nobody", who }, "Nobody you know");
    },
    play: () => play(picked.size ? [...picked][0] : grid.items[grid.active]),
  };
  $("actions").addEventListener("click", (event) => {
    const what = event.target.closest("[data-do]")?.dataset.do;
    if (what) actions[what]();
  });
  $("naming").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("new-name").value.trim();
    $("people").focus();
    rename(name);
  });
  $("new-name").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    $("new-name").value = people.get(entry)?.name || "";
    $("people").focus();
  });
  $("undo").addEventListener("click", undo);
  $("history-open").addEventListener("click", showHistory);
  $("keys-open").addEventListener("click", () => $("keys").showModal());
  $("titles").addEventListener("click", chooseTitle);
  $("filter").addEventListener("input", () => { list.active = 0; $("people").scrollTop = 0; showList(); });
  $("filter").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    $("people").focus();
    if (list.items.length && !list.items.includes(entry)) list.go(0);
  });
  $("sort").addEventListener("change", showList);

  $("people").addEventListener("click", (event) => { const at = list.at(event); if (at >= 0) list.go(at); });
  $("people").addEventListener("keydown", (event) => {
    if (list.key_(event)) { event.stopPropagation(); return; }
    if (event.key === "Enter") { event.preventDefault(); $("faces").focus(); }
  });
  $("faces").addEventListener("click", (event) => {
    const at = grid.at(event);
    if (at < 0) return;
    grid.go(at, { quiet: true });
    if (event.shiftKey) range(grid.items[at]); else pick(grid.items[at]);
  });
  $("faces").addEventListener("keydown", (event) => {
    if (event.shiftKey && event.key.startsWith("Arrow") && anchor < 0) anchor = grid.active;
    if (grid.key_(event)) { event.stopPropagation(); return; }
    if (event.key === "Enter" && grid.items.length) { event.preventDefault(); pick(grid.items[grid.active]); }
    if (event.key === "Escape") { if (picked.size) pickAll(false); else $("people").focus(); }
    if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); event.stopPropagation(); pickAll(true); }
  });

  const single = $("single-keys");
  try { single.checked = localStorage.getItem("single-keys") !== "off"; } catch { /* a private window: the choice lasts as long as the page */ }
  single.addEventListener("change", () => {
    try { localStorage.setItem("single-keys", single.checked ? "on" : "off"); } catch { /* as above */ }
  });
  const keys = {
    n: () => { if (entry !== NO_FACE) { $("new-name").focus(); $("new-name").select(); } },
    m: actions.merge, s: actions.split, x: actions.no_face, l: actions.lock, b: actions.nobody, p: actions.play,
    u: () => { if (state.undo) undo(); else say("You have nothing to undo"); },
    h: showHistory, "?": () => $("keys").showModal(), "/": () => $("filter").focus(), t: chooseTitle,
    y: () => answer(true), a: () => answer(false), " ": skip,
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !state || !single.checked) return;
    if (document.querySelector("dialog[open]") || event.target.closest("input, select, textarea")) return;
    if (event.key === " " && event.target.closest("button, a")) return;
    const action = keys[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });

  /* Dragging with a mouse or pen; a finger scrolls. */
  let drag = null;
  const target = (event) => {
    const over = document.elementFromPoint(event.clientX, event.clientY);
    const row = over?.closest("#people [role=option]");
    if (row && row.dataset.id !== drag.person && row.dataset.id !== NOBODY && !(drag.person && row.dataset.id === NO_FACE)) return row;
    return drag.rows ? over?.closest('[data-do="split"]') || null : null;
  };
  const begin = (event) => {
    if (event.button !== 0 || event.pointerType === "touch" || !state) return;
    const tile = event.target.closest("#faces [role=option]");
    const row = event.target.closest("#people [role=option]");
    if (!tile && !(row && people.has(row.dataset.id))) return;
    drag = { x: event.clientX, y: event.clientY, tile: tile ? Number(tile.dataset.row) : -1, person: row?.dataset.id, rows: null, over: null };
  };
  const lift = () => {
    if (drag.tile >= 0) drag.rows = picked.has(drag.tile) ? [...picked] : [drag.tile];
    const text = drag.rows ? count(drag.rows.length, "track") : called(drag.person);
    drag.ghost = make("div", { id: "ghost" }, picture(drag.rows ? drag.tile : people.get(drag.person).cover), text);
    document.body.append(drag.ghost);
    document.body.classList.add("dragging");
    if (drag.rows) document.querySelector('[data-do="split"]').disabled = false;
  };
  const drop = () => {
    drag?.ghost?.remove();
    drag?.over?.classList.remove("drop");
    document.body.classList.remove("dragging");
    drag = null;
    if (state) showActions();
  };
  document.addEventListener("pointerdown", begin);
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (!drag.ghost) {
      if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) < 6) return;
      lift();
    }
    drag.ghost.style.transform = `translate(${event.clientX + 8}px, ${event.clientY + 8}px)`;
    const box = $("people").getBoundingClientRect();
    if (event.clientX > box.left && event.clientX < box.right) {
      if (event.clientY > box.top && event.clientY < box.top + 40) $("people").scrollTop -= 16;
      if (event.clientY < box.bottom && event.clientY > box.bottom - 40) $("people").scrollTop += 16;
    }
    const over = target(event);
    if (over !== drag.over) {
      drag.over?.classList.remove("drop");
      over?.classList.add("drop");
      drag.over = over;
    }
  });
  document.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const { ghost, rows, person } = drag;
    if (!ghost) { drag = null; return; }
    const over = target(event);
    const id = over?.dataset.id;
    drop();
    addEventListener("click", (click) => click.stopPropagation(), { capture: true, once: true });
    setTimeout(() => dispatchEvent(new Event("click")), 0); // where the browser sends none
    if (!over) return;
    if (!rows) merge(person, id);
    else if (id === NO_FACE) noFace(rows);
    else moveTo(rows, id || "");
  });
  document.addEventListener("pointercancel", drop);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && drag) drop(); });

  /* Loading */
  const loadNames = trying(async () => {
    const names = new Set([...(await send("api/names")), ...state.people.map((person) => person.name)].filter(Boolean));
    $("known-names").replaceChildren(...[...names].map((name) => make("option", { value: name })));
  });
  const load = trying(async () => {
    let id = decodeURIComponent(location.hash.slice(1));
    if (!id) {
      const { titles } = await send("api/titles");
      id = titles[0].id;
      history.replaceState(null, "", `#${id}`);
    }
    complain(null);
    say("Loading…");
    const found = await send(home(id));
    title = found;
    state = null;
    question = null;
    entered = false;
    entry = "";
    [questions, order] = [[], found.track.map((_, row) => row)];
    order.sort((a, b) => title.video[a] - title.video[b] || title.start[a] - title.start[b]);
    skipped.clear();
    done.clear();
    list.drop();
    grid.drop();
    $("name").textContent = title.title;
    document.title = `${title.title} · Review`;
    take(found.state);
    show(entry);
    say(`${count(found.state.people.length, "person", "people")}, ${count(title.track.length, "track")}. Space asks, ? shows the keys.`);
    document.documentElement.dataset.ready = title.title_id;
    loadNames();
  });
  const poll = async () => {
    if (state && !document.hidden) {
      const id = title.title_id;
      try {
        const found = await send(`${home()}/state?seen=${encodeURIComponent(state.version)}`);
        if (title.title_id === id && found.people) {
          take(found);
          if (found.last && found.last.who !== found.who) say(`${found.last.who}: ${worded(found.last.what)}`);
        }
      } catch (error) {
        complain(error);
      }
    }
    setTimeout(poll, POLL);
  };
  addEventListener("hashchange", () => { if (decodeURIComponent(location.hash.slice(1)) !== title?.title_id) load(); });
  load();
  setTimeout(poll, POLL);
})();
