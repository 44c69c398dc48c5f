// SPDX-License-Identifier: Apache-2.0
// The last messages, as many as are kept, and those of them that a filter lets through.
//
//   newest                                   oldest
//   [ m, m, m, ... `limit` messages at most ... ]      dropped beyond, counted by nobody: it is a view
//
// Both lists are arrays with the oldest first, cut in large pieces, so that adding costs O(1).
import { filterProblem, matcher } from '../lib/topics.js';
import { preview, textOf } from '../lib/payload.js';

const SEARCHED_BYTES = 64 << 10;

export class Message {
	constructor(row, payload) {
		this.topic = row.topic;
		this.payload = payload;
		this.time = row.time;
		this.qos = row.qos;
		this.retain = row.retain;
		this.dup = row.dup;
		this.properties = row.properties;
		this.subscriptions = [];
		this.serial = 0;
		this.line = null;
	}

	get preview() {
		this.line ??= preview(this.payload);
		return this.line;
	}
}

// What a person typed as a filter: a function from message to boolean, or null for everything.
export function searchOf(typed) {
	const words = typed.trim();
	if (words === '') {
		return null;
	}
	if (/(^|\/)[+#](\/|$)/.test(words) && filterProblem(words) === '') {
		const matches = matcher(words);
		return ({ topic }) => matches(topic);
	}
	const parts = words.toLowerCase().split(/\s+/);
	return (message) => {
		const text = `${message.topic} ${textOf(message.payload.subarray(0, SEARCHED_BYTES)) ??
			message.preview}`.toLowerCase();
		return parts.every((part) => text.includes(part));
	};
}

export class MessageStore {
	constructor(limit = 10000, bytesLimit = 64 << 20) {
		this.limit = limit;
		this.bytesLimit = bytesLimit;
		this.clear();
		this.search = null;
		this.isShown = () => true;
	}

	clear() {
		this.all = [];
		this.from = 0;          // all[from] is the oldest that is kept
		this.shown = [];
		this.shownFrom = 0;
		this.bytes = 0;
		this.total = 0;
	}

	get size() {
		return this.all.length - this.from;
	}

	get shownSize() {
		return this.shown.length - this.shownFrom;
	}

	// index 0 is the newest
	at(index) {
		return this.shown[this.shown.length - 1 - index];
	}

	add(message) {
		message.serial = ++this.total;
		this.all.push(message);
		this.bytes += message.payload.length;
		while (this.size > this.limit || this.bytes > this.bytesLimit && this.size > 1) {
			this.bytes -= this.all[this.from].payload.length;
			this.all[this.from++] = undefined;
		}
		if (this.passes(message)) {
			this.shown.push(message);
		}
		this.trim();
	}

	trim() {
		const oldest = this.all[this.from]?.serial ?? Infinity;
		while (this.shownFrom < this.shown.length && this.shown[this.shownFrom].serial < oldest) {
			this.shown[this.shownFrom++] = undefined;
		}
		if (this.from > this.limit) {
			this.all = this.all.slice(this.from);
			this.from = 0;
		}
		if (this.shownFrom > this.limit) {
			this.shown = this.shown.slice(this.shownFrom);
			this.shownFrom = 0;
		}
	}

	passes(message) {
		return this.isShown(message) && (this.search === null || this.search(message));
	}

	// After the filter changed. search: see searchOf(); isShown: further condition.
	filter(search, isShown = this.isShown) {
		this.search = search;
		this.isShown = isShown;
		this.shown = this.all.slice(this.from).filter((message) => this.passes(message));
		this.shownFrom = 0;
	}

	// The shown messages of this moment, which later ones do not push out.
	snapshot() {
		const rows = this.shown.slice(this.shownFrom);
		return { shownSize: rows.length, at: (index) => rows[rows.length - 1 - index],
			newest: this.total };
	}
}
