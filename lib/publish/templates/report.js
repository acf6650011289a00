// What needs a script: search, sorting, enlarging, interactive charts. Without it, every picture,
// caption, number and link is there.
"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// An input with data-items shows only those of these items that hold every word.
for (const input of all("input[data-items]")) {
  const items = all(input.dataset.items), texts = items.map((item) => item.textContent.toLowerCase());
  const sections = all("main > section").filter((one) => one.querySelector(".card, .scorecard"));
  const nothing = document.querySelector(".nothing");
  input.closest("[hidden]").hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    items.forEach((item, i) => { item.hidden = !words.every((word) => texts[i].includes(word)); });
    const shown = items.filter((item) => !item.hidden);
    for (const one of sections) one.hidden = words.length && !shown.some((item) => one.contains(item));
    if (nothing) nothing.hidden = shown.length > 0;
    input.closest(".search").querySelector("output").value = words.length ? `${shown.length} of ${items.length}` : "";
  });
}

// The heads of a table of numbers sort its rows; empty cells stay last.
const words = new Intl.Collator("en", { numeric: true });
for (const table of all("table.numbers")) {
  all("th", table).forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      for (const other of all("th", table)) other.ariaSort = null;
      head.ariaSort = sign > 0 ? "ascending" : "descending";
      const rows = [...table.tBodies[0].rows].map((row) => [row.cells[column].textContent, row]);
      rows.sort(([a], [b]) => !a - !b || sign * (a - b || words.compare(a, b)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}

// A picture opens enlarged, fitted to the window or at its actual size.
const dialog = document.querySelector("dialog");
for (const link of all("a.zoom")) {
  const sheet = dialog.querySelector(".sheet"), resize = dialog.querySelector("[type=button]");
  const toggle = () => {
    resize.textContent = sheet.classList.toggle("actual") ? "Fit to window" : "Actual size";
  };
  resize.addEventListener("click", toggle);
  sheet.addEventListener("click", toggle);
  link.addEventListener("click", (event) => {
    event.preventDefault();
    sheet.replaceChildren(link.querySelector("img").cloneNode());
    dialog.showModal();
  });
}

// What overflows can be reached, and scrolled, with the keyboard.
for (const one of all(".scroll")) if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;

// Charts, from the data that stands in the page.
for (const section of all("#chart")) {
  const { data, layout } = JSON.parse(section.querySelector("script").textContent);
  const place = section.querySelector(".chart");
  section.hidden = false;
  place.style.height = `${layout.height}px`;
  Plotly.newPlot(place, data, layout, { responsive: true, displaylogo: false });
}
