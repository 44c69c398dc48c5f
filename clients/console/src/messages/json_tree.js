// SPDX-License-Identifier: Apache-2.0
// A JSON value as lines that unfold; what is folded is made only when one opens it.
import { make } from '../lib/dom.js';
import { ExactNumber, childGroups, foldedText, isFoldable } from '../lib/payload.js';

const OPEN_LEVELS = 2;
const OPEN_CHILDREN_MAX = 50;

function scalar(value) {
	if (value instanceof ExactNumber) {
		return make('span', { class: 'json-number' }, value.digits);
	}
	const kind = value === null ? 'null' : typeof value;
	return make('span', { class: `json-${kind}` }, JSON.stringify(value));
}

function label(key) {
	return key === null ? '' : make('span', { class: 'json-key' },
		typeof key === 'number' ? `${key}` : JSON.stringify(key), make('span', { class: 'json-mark' }, ': '));
}

function fillWith(box, value, level) {
	const groups = childGroups(value);
	for (const { from, to, entries } of groups) {
		if (groups.length === 1) {
			box.append(...entries.map(([key, item]) => jsonNode(item, key, level)));
			continue;
		}
		const inner = make('div', { class: 'json-children' });
		const group = make('details', { class: 'json-fold' },
			make('summary', {}, make('span', { class: 'json-mark' }, `${from} to ${to - 1}`)), inner);
		whenOpened(group, () => inner.append(...entries.map(([key, item]) => jsonNode(item, key, level))));
		box.append(group);
	}
}

function whenOpened(details, fill) {
	const once = () => {
		if (details.open) {
			details.removeEventListener('toggle', once);
			fill();
		}
	};
	details.addEventListener('toggle', once);
}

export function jsonNode(value, key = null, level = 0) {
	if (!isFoldable(value)) {
		return make('div', { class: 'json-leaf' }, label(key), scalar(value));
	}
	const count = Object.keys(value).length;
	if (count === 0) {
		return make('div', { class: 'json-leaf' }, label(key), make('span', { class: 'json-mark' },
			Array.isArray(value) ? '[]' : '{}'));
	}
	const box = make('div', { class: 'json-children' });
	const details = make('details', { class: 'json-fold' },
		make('summary', {}, label(key), make('span', { class: 'json-mark' }, foldedText(value))), box);
	if (level < OPEN_LEVELS && (level === 0 || count <= OPEN_CHILDREN_MAX)) {
		details.open = true;
		fillWith(box, value, level + 1);
	} else {
		whenOpened(details, () => fillWith(box, value, level + 1));
	}
	return details;
}
