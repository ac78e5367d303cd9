"use strict";
// Shows one part of the report at a time. The address names it: #quality, or the id of a panel in it.
const links = [...document.querySelectorAll("nav a")];
const parts = links.map((link) => document.querySelector(link.hash));

function show(focus) {
  const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
  const shown = Math.max(0, parts.indexOf(target && target.closest(".tab")));
  parts.forEach((part, place) => {
    part.hidden = place !== shown;
    links[place].setAttribute("aria-selected", String(place === shown));
    links[place].tabIndex = place === shown ? 0 : -1;
  });
  if (focus) links[shown].focus();
  else if (target && !parts.includes(target)) target.scrollIntoView();
}

function go(place, focus) {
  history.pushState(null, "", links[(place + links.length) % links.length].hash);
  show(focus);
}

if (links.length) {
  document.documentElement.classList.add("tabbed");
  const list = document.querySelector("nav ul");
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", "Parts of the report");
  links.forEach((link, place) => {
    link.parentElement.setAttribute("role", "presentation");
    link.setAttribute("role", "tab");
    link.setAttribute("aria-controls", parts[place].id);
    parts[place].setAttribute("role", "tabpanel");
    parts[place].setAttribute("aria-labelledby", link.id);
    link.addEventListener("click", (event) => {
      event.preventDefault();
      go(place, false);
    });
    link.addEventListener("keydown", (event) => {
      const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      go(to, true);
    });
  });
  addEventListener("popstate", () => show(false));
  show(false);
}

// The age of the last successful run on the day the page is opened.
for (const time of document.querySelectorAll("time[data-alarm-days]")) {
  const days = Math.floor((Date.now() - Date.parse(time.dateTime)) / 86_400_000);
  const badge = document.createElement("span");
  badge.className = days > Number(time.dataset.alarmDays) ? "badge alarm" : "age";
  badge.textContent = days < 1 ? "today" : days === 1 ? "1 day ago" : `${days} days ago`;
  time.after(" ", badge);
}
