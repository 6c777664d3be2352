"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { titles, people } = data;
  const $ = (id) => document.getElementById(id);
  document.documentElement.classList.add("live");
  const PAGE = 60; // cards that are added at once
  const MAX_COLUMNS = 40; // titles of the heat map

  const make = (name, values = {}, ...inside) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(values)) {
      if (key === "class") element.className = value;
      else if (key in element) element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...inside);
    return element;
  };
  const count = (value, one, many) => `${value.toLocaleString("en")} ${value === 1 ? one : many}`;
  const length = (seconds) => {
    const whole = Math.round(seconds);
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    if (whole < 60) return `${whole} s`;
    const minutes = Math.floor(whole / 60);
    if (minutes < 60) return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
    return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  };
  const clock = (seconds) => {
    const whole = Math.round(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  };
  const nameOf = (number) => people[number].name || `Person ${number + 1}`;
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const address = (title) => `titles/${encodeURIComponent(titles[title][0])}/report.html`;

  /* What filters compare, made once. */
  const titleTexts = titles.map(([, name]) => plain(name));
  people.forEach((person, number) => {
    const given = person.in.map((member) => member[2]).filter(Boolean);
    person.text = plain([nameOf(number), ...given].join("\n"));
    person.titles = [...new Set(person.in.map(([title]) => title))];
  });

  /* Pictures stand behind the script in blocks; one is unpacked when a face of it is shown. */
  const blocks = new Map();
  let waiting = [];
  const pictureOf = (number) => {
    const at = Math.floor(number / data.block);
    if (!blocks.has(at)) {
      const source = document.getElementsByClassName("pictures")[at];
      // The parser may be in the middle of the last block that there is.
      if (!source || (document.readyState === "loading" && !source.nextElementSibling)) return undefined;
      blocks.set(at, JSON.parse(source.textContent));
    }
    return blocks.get(at)[number % data.block];
  };
  const paint = (element, number) => {
    const picture = pictureOf(number);
    if (picture === undefined) waiting.push([element, number]);
    else if (picture) {
      element.classList.remove("none");
      element.style.backgroundImage = `url(data:image/webp;base64,${picture})`;
    }
  };
  document.addEventListener("DOMContentLoaded", () => {
    const late = waiting;
    waiting = [];
    late.forEach(([element, number]) => paint(element, number));
    document.documentElement.dataset.ready = "";
  });
  const face = (number, kind = "") => {
    const element = make("span", { class: `face none ${kind}`, "aria-hidden": "true" });
    paint(element, number);
    return element;
  };

  /* Cards. */
  const memberLine = ([title, personId, name, seconds, confidence, link]) => {
    const how = { joined: `joined by the face, confidence ${confidence.toFixed(2)}`, named: "joined by the name", decided: "joined by a decision" }[link];
    return make("li", {},
      make("a", { href: address(title) + `#${personId}` }, titles[title][1]),
      make("span", { class: "muted" }, [name, personId, length(seconds), how].filter(Boolean).join(" · ")));
  };
  const fill = (details, number) => {
    const person = people[number];
    if (person.maybe.length) {
      const others = person.maybe.map(([other, probability]) => {
        const button = make("button", { type: "button" }, face(other, "small"), `${nameOf(other)}, ${Math.round(100 * probability)} %`);
        button.addEventListener("click", () => goTo(other));
        return make("li", {}, button);
      });
      details.append(make("div", { class: "maybe" }, make("p", {}, "Perhaps the same person as"), make("ul", {}, ...others)));
    }
    const members = [...person.in].sort((one, other) => other[3] - one[3]);
    details.append(make("ul", { class: "in" }, ...members.map(memberLine)));
  };
  const card = (number) => {
    const person = people[number];
    const facts = [person.id, length(person.seconds), count(person.titles.length, "title", "titles")];
    if (person.seen.length > person.titles.length) facts.push(count(person.seen.length, "episode", "episodes"));
    const about = make("span", {}, make("strong", {}, nameOf(number)), make("span", { class: "muted" }, facts.join(" · ")));
    if (person.maybe.length) about.append(make("span", { class: "muted" }, "perhaps the same as another"));
    const details = make("details", {}, make("summary", {}, face(number), about));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) fill(details, number);
    });
    return make("li", { id: `person-${person.id}` }, details);
  };

  /* The list: filtered, sorted, and extended while it is scrolled. */
  let shown = [];
  let drawn = 0;
  const extend = (upTo = drawn + PAGE) => {
    const end = Math.min(upTo, shown.length);
    $("cast").append(...shown.slice(drawn, end).map(card));
    drawn = Math.max(drawn, end);
    $("more").hidden = drawn >= shown.length;
    $("more").textContent = `Show more of ${(shown.length - drawn).toLocaleString("en")}`;
  };
  const orders = {
    seconds: (one, other) => one - other, // people come by time on screen
    titles: (one, other) => people[other].titles.length - people[one].titles.length || one - other,
    name: (one, other) => {
      const [left, right] = [people[one].name, people[other].name];
      if (!left || !right) return !left - !right || one - other;
      return left.localeCompare(right) || one - other;
    },
  };
  const choose = () => {
    const name = plain($("by-name").value.trim());
    const title = plain($("by-title").value.trim());
    const wanted = titleTexts.map((text) => text.includes(title));
    shown = [];
    people.forEach((person, number) => {
      if (name && !person.text.includes(name) && person.id !== name) return;
      if (title && !person.titles.some((each) => wanted[each])) return;
      if ($("several").checked && person.titles.length < 2) return;
      if ($("unsure").checked && !person.maybe.length) return;
      shown.push(number);
    });
    shown.sort(orders[$("sort").value]);
    $("cast").replaceChildren();
    drawn = 0;
    extend();
    $("found").textContent = shown.length === people.length
      ? count(people.length, "person", "people")
      : `${shown.length.toLocaleString("en")} of ${count(people.length, "person", "people")}`;
  };
  const goTo = (number) => {
    if (!shown.includes(number)) {
      $("filters").reset();
      choose();
    }
    extend(shown.indexOf(number) + 1);
    document.querySelectorAll(".found").forEach((each) => each.classList.remove("found"));
    const card = $(`person-${people[number].id}`);
    const details = card.firstElementChild;
    card.classList.add("found");
    details.open = true;
    card.scrollIntoView({ block: "center" });
    details.firstElementChild.focus({ preventScroll: true });
  };

  /* The heat map: people by the episodes of a title, or by titles. */
  const cells = (title) => people.map((person, number) => {
    const found = new Map();
    for (const [where, episode, seconds] of person.seen) {
      if (title >= 0 && where !== title) continue;
      const column = title >= 0 ? episode : where;
      found.set(column, (found.get(column) || 0) + seconds);
    }
    return { number, found, total: [...found.values()].reduce((sum, each) => sum + each, 0) };
  }).filter(({ found }) => found.size);
  const columnsOf = (title, rows) => {
    if (title >= 0) return Array.from({ length: titles[title][2] }, (_, episode) => episode + 1);
    const sums = new Map();
    rows.forEach(({ found }) => found.forEach((seconds, column) => sums.set(column, (sums.get(column) || 0) + seconds)));
    return [...sums.keys()].sort((one, other) => sums.get(other) - sums.get(one)).slice(0, MAX_COLUMNS).sort((one, other) => one - other);
  };
  const drawMap = () => {
    const title = Number($("map-of").value);
    const all = cells(title).sort((one, other) => other.total - one.total || one.number - other.number);
    const rows = all.slice(0, Number($("map-top").value));
    const columns = columnsOf(title, rows);
    const most = Math.max(...rows.map(({ found }) => Math.max(...found.values())), 1);
    const head = make("tr", {}, make("th", { scope: "col" }, "Person"));
    for (const column of columns) {
      const text = title >= 0 ? String(column) : titles[column][1];
      const label = title >= 0 ? `Episode ${column}` : text;
      head.append(make("th", { scope: "col", title: label, class: title >= 0 ? "" : "tall", "aria-label": label }, make("span", {}, text)));
    }
    const body = rows.map(({ number, found }) => {
      const go = make("button", { type: "button", title: nameOf(number) }, face(number, "small"), make("span", {}, nameOf(number)));
      go.addEventListener("click", () => goTo(number));
      const row = make("tr", {}, make("th", { scope: "row" }, go));
      for (const column of columns) {
        const cell = row.insertCell();
        if (!found.has(column)) continue;
        const seconds = found.get(column);
        const heat = Math.round(100 * Math.sqrt(seconds / most));
        // No text stands on a middle shade: neither colour of the text has enough contrast there.
        const shade = heat > 55 ? 80 + (heat - 55) * 20 / 45 : heat * 45 / 55;
        cell.dataset.heat = heat;
        cell.dataset.seconds = seconds;
        cell.style.setProperty("--heat", shade);
        cell.classList.toggle("hot", heat > 55);
        cell.textContent = clock(seconds);
      }
      return row;
    });
    const caption = title >= 0 ? `${titles[title][1]}: minutes on screen in each episode` : "Minutes on screen in each title";
    $("map").replaceChildren(make("caption", { class: "muted" }, caption), make("thead", {}, head), make("tbody", {}, ...body));
    const of = title >= 0 ? titles[title][2] : titles.length;
    const few = [
      all.length > rows.length && `${rows.length} of ${count(all.length, "person", "people")}`,
      of > columns.length && `${columns.length} of ${count(of, "title", "titles")}, those in which these people are seen longest`,
    ].filter(Boolean);
    $("map-note").textContent = `Minutes and seconds; the stronger the colour, the longer.${few.length ? ` Shown: ${few.join("; ")}.` : ""}`;
  };

  /* Start. */
  $("map-of").append(make("option", { value: "-1" }, "all titles"));
  const seasons = titles.map((_, number) => number).filter((number) => titles[number][2] > 1);
  const films = titles.map((_, number) => number).filter((number) => titles[number][2] <= 1);
  for (const [label, group] of [["By episode", seasons], ["Single videos", films]]) {
    if (!group.length) continue;
    $("map-of").append(make("optgroup", { label }, ...group.map((number) => make("option", { value: String(number) }, titles[number][1]))));
  }
  if (seasons.length && titles.length === 1) $("map-of").value = String(seasons[0]);
  $("titles").append(...titles.map(([, name]) => make("option", { value: name })));
  for (const id of ["by-name", "by-title"]) $(id).addEventListener("input", choose);
  for (const id of ["sort", "several", "unsure"]) $(id).addEventListener("change", choose);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("map-of").addEventListener("change", drawMap);
  $("map-top").addEventListener("change", drawMap);
  $("more").addEventListener("click", () => {
    const first = drawn;
    extend();
    $("cast").children[first]?.querySelector("summary").focus();
  });
  new IntersectionObserver((entries) => {
    if (entries[0].isIntersecting && !$("more").hidden) extend();
  }, { rootMargin: "600px" }).observe($("more").parentElement);
  const follow = () => {
    const number = people.findIndex(({ id }) => `#person-${id}` === decodeURIComponent(location.hash));
    if (number >= 0) goTo(number);
  };
  addEventListener("hashchange", follow);
  choose();
  drawMap();
  follow();
})();
