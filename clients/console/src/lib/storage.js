// SPDX-License-Identifier: Apache-2.0
// What the page remembers in this browser. Passwords are never among it.

const PREFIX = 'nightjar.';

export function load(name, otherwise) {
	try {
		const text = localStorage.getItem(PREFIX + name);
		return text === null ? otherwise : JSON.parse(text);
	} catch {
		return otherwise;
	}
}

export function save(name, value) {
	try {
		localStorage.setItem(PREFIX + name, JSON.stringify(value));
	} catch {
		// A browser may forbid it, or be full; the page works without.
	}
}
