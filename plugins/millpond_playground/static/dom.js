// Creation of elements. Texts are never parsed as HTML, so those of users and models cannot contain markup.

/**
 * Create an element.
 *
 * @param {string} name The name of the element.
 * @param {Object} attributes Attributes; functions are event listeners by event name, true is an empty attribute, and
 *   false, null and undefined are left out. `vars` sets CSS variables, which the content security policy allows for
 *   scripts only.
 * @param {...(Node|string|number|null|Array)} children The content; nulls are left out.
 */
export function element(name, attributes = {}, ...children) {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") created.addEventListener(key, value);
    else if (key === "vars") setVariables(created, value);
    else if (key === "value") created.value = value;
    else if (value === true) created.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) created.setAttribute(key, value);
  }
  created.append(...children.flat().filter((child) => child !== null && child !== undefined).map(asNode));
  return created;
}

const asNode = (child) => (child instanceof Node ? child : String(child));

/** Set CSS variables of an element, by names with dashes. */
function setVariables(target, variables) {
  for (const [name, value] of Object.entries(variables)) target.style.setProperty(name, value);
}

let lastId = 0;

/** Return an id that no other element of the page has. */
export function uniqueId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/** Return a function that calls another one once no call has been made for some milliseconds. */
export function debounced(milliseconds, callback) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(callback, milliseconds);
  };
}
