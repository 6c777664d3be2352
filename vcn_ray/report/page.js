"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (query, root = document) => Array.from(root.querySelectorAll(query));
  const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.documentElement.classList.add("live");

  /* Typed names are kept in this browser, under a key that changes with the people. */
  const plain = new Map(all("input[data-input]").map((input) => [input.dataset.input, input.placeholder]));
  const load = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(data.key) || "{}");
      return kept && typeof kept === "object" ? kept : {};
    } catch {
      return {}; // private windows may forbid storage; the names then last as long as the page
    }
  };
  const names = load();
  const nameOf = (person) => names[person] || plain.get(person) || "Unknown";
  const showName = (person) => {
    all(`[data-name="${person}"]`).forEach((element) => { element.textContent = nameOf(person); });
  };
  all("input[data-input]").forEach((input) => {
    const person = input.dataset.input;
    input.value = typeof names[person] === "string" ? names[person] : "";
    showName(person);
    const keep = () => {
      const name = input.value.trim();
      if (name) names[person] = name; else delete names[person];
      showName(person);
      try { localStorage.setItem(data.key, JSON.stringify(names)); } catch { /* as above */ }
    };
    input.addEventListener("input", keep);
    input.addEventListener("change", keep); // some browsers fill in or clear fields themselves
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") input.blur(); });
  });
  document.getElementById("export")?.addEventListener("click", () => {
    const people = Object.fromEntries([...plain.keys()].map((person) => [person, names[person] || null]));
    const url = URL.createObjectURL(new Blob([JSON.stringify(people, null, 2)], { type: "application/json" }));
    const link = Object.assign(document.createElement("a"), { href: url, download: `${data.id}.${data.result}-names.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });

  /* A person's picture opens the detail panel. */
  all("a.cover").forEach((cover) => {
    const panel = document.querySelector(cover.getAttribute("href"));
    cover.setAttribute("role", "button");
    const showState = () => cover.setAttribute("aria-expanded", String(panel.open));
    showState();
    panel.addEventListener("toggle", showState);
    const flip = (event) => {
      event.preventDefault();
      panel.open = !panel.open;
      if (panel.open) panel.scrollIntoView({ block: "nearest", behavior: reduced ? "auto" : "smooth" });
    };
    cover.addEventListener("click", flip);
    cover.addEventListener("keydown", (event) => { if (event.key === " ") flip(event); });
  });

  /* A link into a folded list opens it, and so does printing. */
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    for (let fold = target?.closest("details.fold"); fold; fold = fold.parentElement.closest("details.fold")) fold.open = true;
    if (target?.closest("details.fold")) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => all("details.fold").forEach((fold) => { fold.open = true; }));

  /* The face and the time of the bar under the pointer or with the focus. */
  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  const show = (bar) => {
    const person = bar.parentElement.dataset.person;
    const own = bar.dataset.face;
    tip.firstElementChild.className = own === undefined ? "face none" : `face f${own}`;
    tip.querySelector("strong").textContent = bar.parentElement.dataset.nameOf || nameOf(person);
    tip.querySelector("small").textContent = bar.dataset.when;
    tip.hidden = false;
    const box = bar.getBoundingClientRect();
    const area = bar.closest(".timeline")?.getBoundingClientRect() || { left: 0, right: innerWidth };
    const middle = (Math.max(box.left, area.left) + Math.min(box.right, area.right)) / 2;
    const left = Math.min(Math.max(8, middle - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
  };
  all(".lane").forEach((lane) => {
    const bars = all(".bar", lane);
    bars.forEach((bar, row) => {
      bar.dataset.when = bar.title;
      bar.setAttribute("role", "img");
      bar.setAttribute("aria-label", bar.title);
      bar.removeAttribute("title");
      bar.tabIndex = row ? -1 : 0;
    });
    lane.addEventListener("keydown", (event) => {
      const row = bars.indexOf(event.target);
      const next = { ArrowLeft: row - 1, ArrowRight: row + 1, Home: 0, End: bars.length - 1 }[event.key];
      if (row < 0 || next === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      if (!bars[next]) return;
      bars[row].tabIndex = -1;
      bars[next].tabIndex = 0;
      bars[next].focus();
    });
  });
  const overBar = (handler) => (event) => { if (event.target.classList?.contains("bar")) handler(event.target); };
  document.addEventListener("pointerover", overBar(show));
  document.addEventListener("pointerout", overBar(hide));
  document.addEventListener("focusin", overBar(show));
  document.addEventListener("focusout", overBar(hide));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("scroll", hide, { capture: true, passive: true });

  /* Zoom: the axis grows inside its scrolling frame; its labels are drawn again for each width. */
  const frame = document.getElementById("timeline");
  if (!frame) return;
  const scale = frame.querySelector(".scale");
  const axis = document.getElementById("axis");
  const maxZoom = Math.max(1, Math.min(512, 2 ** Math.ceil(Math.log2(data.seconds / 4))));
  const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
  let zoom = 1;

  const clock = (seconds, tenths) => {
    const whole = Math.floor(seconds + 1e-6);
    const two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    const text = hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
    return tenths ? `${text}.${Math.round((seconds - whole) * 10)}` : text;
  };
  const drawTicks = () => {
    const width = axis.clientWidth || 1;
    const step = steps.find((value) => (value / data.seconds) * width >= 64) || 36000;
    const ticks = [];
    for (const video of data.videos) {
      for (let time = 0; time < video.seconds; time += step) {
        const room = ((video.seconds - time) / data.seconds) * width;
        if (time && room < 40) break;
        const tick = document.createElement("span");
        tick.className = "tick";
        tick.style.left = `${(100 * (video.offset + time)) / data.seconds}%`;
        tick.textContent = clock(time, step < 1);
        ticks.push(tick);
      }
    }
    document.getElementById("ticks").replaceChildren(...ticks);
    // Zoomed in, the lines of cuts are farther apart and may be more opaque.
    frame.style.setProperty("--cut-opacity", Math.min(1, Math.max(data.minCutOpacity, width / (6 * data.cuts + 1))));
  };
  const setZoom = (wanted, anchor) => {
    const next = Math.min(maxZoom, Math.max(1, wanted));
    const labels = frame.querySelector(".who").offsetWidth;
    const at = anchor === undefined ? (frame.clientWidth - labels) / 2 : Math.max(0, anchor - labels);
    const place = (frame.scrollLeft + at) / axis.clientWidth;
    zoom = next;
    scale.style.setProperty("--zoom", zoom);
    frame.scrollLeft = place * axis.clientWidth - at;
    document.getElementById("zoom-level").textContent = `Zoom ${Math.round(zoom * 10) / 10} ×`;
    document.querySelector('[data-zoom="out"]').disabled = zoom <= 1;
    document.querySelector('[data-zoom="in"]').disabled = zoom >= maxZoom;
    drawTicks();
  };
  const change = { in: () => setZoom(zoom * 2), out: () => setZoom(zoom / 2), fit: () => setZoom(1) };
  all("[data-zoom]").forEach((button) => button.addEventListener("click", change[button.dataset.zoom]));
  frame.addEventListener("keydown", (event) => {
    const action = { "+": "in", "=": "in", "-": "out", 0: "fit" }[event.key];
    if (action && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      change[action]();
    }
  });
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    setZoom(zoom * Math.exp(-event.deltaY / 200), event.clientX - frame.getBoundingClientRect().left);
  }, { passive: false });
  new ResizeObserver(drawTicks).observe(frame);
  setZoom(1);
})();
