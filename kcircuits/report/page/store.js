// The reader's choices, in one place. Listeners are called when a choice that they show changes.

function makeStore(state) {
  const listeners = [];
  return {
    state,
    // Calls `listener` now and whenever one of the keys changes.
    watch(keys, listener) {
      listeners.push([keys, listener]);
      listener(state);
    },
    set(patch) {
      const changed = Object.keys(patch).filter((key) => state[key] !== patch[key]);
      if (changed.length === 0) return;
      Object.assign(state, patch);
      for (const [keys, listener] of listeners) {
        if (changed.some((key) => keys.includes(key))) listener(state);
      }
    },
  };
}
