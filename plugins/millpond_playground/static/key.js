// The dialog for the API key.

import { storeKey, storedKey } from "./api.js";

/** Return the dialog; `open(problem)` shows it with a problem of the previous key, and `onChange` follows a new key. */
export function createKeyDialog({ onChange }) {
  const byId = (id) => document.getElementById(id);
  const dialog = byId("key-dialog");
  const field = byId("key");

  function close(key) {
    storeKey(key);
    dialog.close();
    onChange();
  }

  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = field.value.trim();
    if (/^[\x21-\x7e]+$/.test(key)) close(key); // other characters cannot be sent in a header
    else byId("key-error").textContent = "Enter a key: letters, digits and punctuation without spaces.";
  });
  byId("key-remove").addEventListener("click", () => close(""));
  byId("key-cancel").addEventListener("click", () => dialog.close());

  return {
    open(problem = "") {
      field.value = storedKey();
      byId("key-error").textContent = problem;
      byId("key-remove").hidden = storedKey() === "";
      if (!dialog.open) dialog.showModal();
      field.select();
    },
  };
}
