// Tabs: one panel at a time, chosen with the pointer, the arrow keys, or the fragment of the address.

import { element } from "./dom.js";

const STEPS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
const NARROW = matchMedia("(max-width: 900px)"); // as in page.css: the tabs are in a row

/**
 * Return the tabs; `show(items)` replaces them.
 *
 * @param {Object} options
 * @param {Element} options.list The element for the tabs.
 * @param {Element} options.panels The element for their panels.
 * @param {function} options.onShow Called with the item that is shown.
 */
export function createTabs({ list, panels, onShow }) {
  let items = [];
  const tabs = new Map();

  function select(id, { focus = false } = {}) {
    for (const item of items) {
      const isSelected = item.id === id;
      const tab = tabs.get(item.id);
      tab.setAttribute("aria-selected", String(isSelected));
      tab.tabIndex = isSelected ? 0 : -1;
      item.node.hidden = !isSelected;
      if (!isSelected) continue;
      if (focus) tab.focus();
      tab.scrollIntoView({ block: "nearest", inline: "nearest" });
      onShow(item);
    }
  }

  function choose(id) {
    history.replaceState(null, "", `#${id}`);
    select(id, { focus: true });
  }

  function onKey(event) {
    const at = items.findIndex((item) => item.id === event.target.dataset.id);
    let next = null;
    if (event.key in STEPS) next = (at + STEPS[event.key] + items.length) % items.length;
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = items.length - 1;
    if (at < 0 || next === null) return;
    event.preventDefault();
    choose(items[next].id);
  }

  function selectFromAddress() {
    const wanted = location.hash.slice(1);
    if (items.length) select((items.find((item) => item.id === wanted) ?? items[0]).id);
  }

  const setOrientation = () => list.setAttribute("aria-orientation", NARROW.matches ? "horizontal" : "vertical");
  NARROW.addEventListener("change", setOrientation);
  setOrientation();
  list.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", selectFromAddress);

  return {
    show(newItems) {
      items = newItems;
      tabs.clear();
      for (const item of items) {
        const attributes = { type: "button", role: "tab", id: `tab-${item.id}`, "aria-controls": `panel-${item.id}` };
        const click = () => choose(item.id);
        tabs.set(item.id, element("button", { ...attributes, "data-id": item.id, click }, item.title));
        Object.assign(item.node, { id: `panel-${item.id}`, hidden: true });
        item.node.setAttribute("role", "tabpanel");
        item.node.setAttribute("aria-labelledby", `tab-${item.id}`);
      }
      list.replaceChildren(...tabs.values());
      panels.replaceChildren(...items.map((item) => item.node));
      selectFromAddress();
    },
  };
}
