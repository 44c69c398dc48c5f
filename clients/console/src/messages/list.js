// SPDX-License-Identifier: Apache-2.0
// A list of any length with as many elements as one sees: rows of one height, the newest on top.
//
// While one reads further down, or has paused, the list stands still on a snapshot; what comes
// meanwhile is counted, and shown when one goes back to the top.
import { make, timeText } from '../lib/dom.js';
import { sizeText } from '../lib/payload.js';

const ROW = 50;
const REST = 4;
// Nobody reads faster; the time between is left to the rest of the page.
const DRAW_MS = 80;

function makeRow() {
	const parts = {
		time: make('span', { class: 'row-time' }),
		topic: make('span', { class: 'row-topic' }),
		badges: make('span', { class: 'row-badges' }),
		payload: make('span', { class: 'row-payload' }),
		size: make('span', { class: 'row-size' }),
	};
	const row = make('div', { class: 'row-message', role: 'option' }, parts.time, parts.topic,
		parts.badges, parts.payload, parts.size);
	row.parts = parts;
	row.hidden = true;
	return row;
}

export class MessageList {
	// element: the scrolled box; space: the tall box in it. colourOf(message) -> CSS colour.
	constructor(element, space, store, colourOf) {
		this.element = element;
		this.space = space;
		this.store = store;
		this.colourOf = colourOf;
		this.rows = [];
		this.frozen = null;
		this.isPaused = false;
		this.selected = null;
		this.onselect = () => {};
		this.ondraw = () => {};
		this.asked = false;
		this.drawnAt = 0;
		element.addEventListener('scroll', () => this.onScroll(), { passive: true });
		element.addEventListener('keydown', (event) => this.onKey(event));
		element.addEventListener('click', (event) => this.onClick(event));
		new ResizeObserver(() => this.draw()).observe(element);
	}

	get source() {
		return this.frozen ?? this.store;
	}

	get newer() {
		return this.frozen ? this.store.total - this.frozen.newest : 0;
	}

	freeze() {
		this.frozen ??= this.store.snapshot();
	}

	// Live again, unless one has paused or reads further down.
	thaw() {
		if (!this.isPaused) {
			this.frozen = null;
		}
		this.draw();
	}

	pause(on) {
		this.isPaused = on;
		if (on) {
			this.freeze();
		} else {
			this.element.scrollTop = 0;
			this.frozen = null;
		}
		this.draw();
	}

	toTop() {
		this.element.scrollTop = 0;
		if (this.isPaused) {
			this.frozen = this.store.snapshot();
		}
		this.thaw();
	}

	// After the store was cleared or its filter has changed.
	reset() {
		this.element.scrollTop = 0;
		this.frozen = this.isPaused ? this.store.snapshot() : null;
		this.draw();
	}

	// Something came; drawn with the next frame, but not with every one.
	wake() {
		if (this.asked) {
			return;
		}
		this.asked = true;
		const frame = (now) => {
			if (now - this.drawnAt < DRAW_MS) {
				requestAnimationFrame(frame);
				return;
			}
			this.drawnAt = now;
			this.asked = false;
			this.draw();
		};
		requestAnimationFrame(frame);
	}

	onScroll() {
		if (this.element.scrollTop > ROW / 2) {
			this.freeze();
		} else if (this.frozen && !this.isPaused) {
			this.frozen = null;
		}
		this.draw();
	}

	draw() {
		const { source, element, space } = this;
		const height = source.shownSize * ROW;
		if (this.height !== height) {
			this.height = height;
			space.style.height = `${height}px`;
		}
		const first = Math.max(0, Math.floor(element.scrollTop / ROW) - REST);
		const count = Math.ceil(element.clientHeight / ROW) + 2 * REST;
		while (this.rows.length < count) {
			const row = makeRow();
			this.rows.push(row);
			space.append(row);
		}
		for (const [place, row] of this.rows.entries()) {
			const index = first + place;
			const message = place < count && index < source.shownSize ? source.at(index) : undefined;
			this.drawRow(row, message, index);
		}
		this.markActive();
		this.ondraw();
	}

	drawRow(row, message, index) {
		row.hidden = !message;
		if (!message) {
			row.message = null;
			return;
		}
		if (row.index !== index) {
			row.index = index;
			row.style.transform = `translateY(${index * ROW}px)`;
			row.setAttribute('aria-posinset', index + 1);
		}
		row.setAttribute('aria-setsize', this.source.shownSize);
		row.setAttribute('aria-selected', message === this.selected);
		if (row.message === message && row.colour === this.colourOf(message)) {
			return;
		}
		row.message = message;
		row.id = `message-${message.serial}`;
		row.colour = this.colourOf(message);
		row.style.setProperty('--stripe', row.colour);
		const { parts } = row;
		parts.time.textContent = timeText(message.time);
		parts.topic.textContent = message.topic;
		parts.payload.textContent = message.payload.length ? message.preview : 'empty';
		parts.payload.classList.toggle('is-empty', !message.payload.length);
		parts.size.textContent = sizeText(message.payload.length);
		const badges = `QoS ${message.qos}${message.retain ? '|Retained' : ''}${message.dup ? '|Again' : ''}`;
		if (row.badges !== badges) {
			row.badges = badges;
			parts.badges.replaceChildren(...badges.split('|').map((text) =>
				make('span', { class: `badge ${text === 'Retained' ? 'warm' : ''}` }, text)));
		}
	}

	markActive() {
		const row = this.rows.find(({ message }) => message && message === this.selected);
		if (row) {
			this.element.setAttribute('aria-activedescendant', row.id);
		} else {
			this.element.removeAttribute('aria-activedescendant');
		}
	}

	// A message that is looked at stays where it is.
	select(message) {
		this.selected = message;
		if (message) {
			this.freeze();
		} else if (this.element.scrollTop <= ROW / 2) {
			this.thaw();
		}
		this.draw();
		this.onselect(message);
	}

	indexOfSelected() {
		const { source, selected } = this;
		for (let index = 0; selected && index < source.shownSize; index++) {
			if (source.at(index) === selected) {
				return index;
			}
		}
		return -1;
	}

	onClick(event) {
		const row = event.target.closest('.row-message');
		if (row?.message) {
			this.select(row.message);
		}
	}

	onKey(event) {
		const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 1);
		const at = this.indexOfSelected();
		const last = this.source.shownSize - 1;
		const target = { ArrowDown: at + 1, ArrowUp: at < 0 ? 0 : at - 1, PageDown: at + page,
			PageUp: at - page, Home: 0, End: last }[event.key];
		if (event.key === 'Escape' && this.selected) {
			this.select(null);
		} else if (target === undefined || last < 0) {
			return;
		} else {
			const index = Math.min(Math.max(target, 0), last);
			this.freeze();
			this.select(this.source.at(index));
			this.reveal(index);
		}
		event.preventDefault();
	}

	reveal(index) {
		const top = index * ROW;
		const { element } = this;
		if (top < element.scrollTop) {
			element.scrollTop = top;
		} else if (top + ROW > element.scrollTop + element.clientHeight) {
			element.scrollTop = top + ROW - element.clientHeight;
		}
		this.draw();
	}
}
