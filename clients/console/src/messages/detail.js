// SPDX-License-Identifier: Apache-2.0
// One message with all that came with it, and its payload in three forms.
import { copyText, icon, make, timeText } from '../lib/dom.js';
import { bestForm, hexDump, hexOf, jsonOf, sizeText, textOf } from '../lib/payload.js';
import { jsonNode } from './json_tree.js';

const TEXT_CHARACTERS = 100000;
const HEX_BYTES = 16384;

// A part of a long text, and a button for the rest.
function longText(text, limit) {
	const block = make('pre', { class: 'payload', tabindex: '0' }, text.slice(0, limit));
	if (text.length <= limit) {
		return [block];
	}
	const rest = make('button', { type: 'button', class: 'link', onclick: () => {
		block.textContent = text;
		rest.remove();
	} }, `Show the other ${(text.length - limit).toLocaleString('en')} characters`);
	return [block, rest];
}

function hexParts(bytes) {
	const block = make('pre', { class: 'payload hex', tabindex: '0' }, hexDump(bytes, 0, Math.min(bytes.length, HEX_BYTES)));
	if (bytes.length <= HEX_BYTES) {
		return [block];
	}
	let shown = HEX_BYTES;
	const rest = make('button', { type: 'button', class: 'link', onclick: () => {
		const to = Math.min(bytes.length, shown + 4 * HEX_BYTES);
		block.append('\n', hexDump(bytes, shown, to));
		shown = to;
		rest.textContent = moreText();
		rest.hidden = shown === bytes.length;
	} });
	const moreText = () => `Show more; ${sizeText(bytes.length - shown)} are left`;
	rest.textContent = moreText();
	return [block, rest];
}

const FORMS = {
	text: (bytes) => {
		const text = textOf(bytes);
		return text === null ? [make('p', { class: 'muted' }, 'These bytes are no UTF-8 text; see Hex.')]
			: longText(text, TEXT_CHARACTERS);
	},
	json: (bytes) => {
		const json = jsonOf(textOf(bytes));
		return json ? [make('div', { class: 'payload json', tabindex: '0' }, jsonNode(json.value))]
			: [make('p', { class: 'muted' }, 'This payload is no JSON.')];
	},
	hex: hexParts,
};

function propertyRows(properties = {}) {
	const names = { contentType: 'Content type', responseTopic: 'Response topic',
		correlationData: 'Correlation data', messageExpiryInterval: 'Expires after',
		payloadFormatIndicator: 'Payload format', topicAlias: 'Topic alias' };
	const rows = [];
	for (const [key, name] of Object.entries(names)) {
		let value = properties[key];
		if (value === undefined) {
			continue;
		}
		if (value instanceof Uint8Array) {
			value = textOf(value) ?? hexOf(value);
		} else if (key === 'messageExpiryInterval') {
			value = `${value} s`;
		} else if (key === 'payloadFormatIndicator') {
			value = value ? 'UTF-8' : 'unspecified';
		}
		rows.push([name, String(value)]);
	}
	for (const [name, value] of properties.userProperties ?? []) {
		rows.push([name, value, 'user']);
	}
	return rows;
}

export class MessageDetail {
	// actions: {again(message), answer(message), close()}
	constructor(element, actions) {
		this.element = element;
		this.actions = actions;
		this.form = null;
		element.addEventListener('keydown', (event) => {
			if (event.key === 'Escape') {
				actions.close();
				event.preventDefault();
			}
		});
	}

	show(message, subscriptions) {
		this.element.hidden = !message;
		this.element.replaceChildren();
		if (!message) {
			return;
		}
		const body = make('div', { class: 'detail-body' });
		this.element.append(this.head(message), this.facts(message, subscriptions),
			this.tools(message, body), body, ...this.properties(message));
		this.element.scrollTop = 0;
	}

	head(message) {
		return make('header', { class: 'detail-head' },
			make('h3', { class: 'mono' }, message.topic),
			make('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close the message',
				title: 'Close (Escape)', onclick: () => this.actions.close() }, icon('x')));
	}

	facts(message, subscriptions) {
		const parts = [make('span', { class: 'mono' }, timeText(message.time)),
			make('span', { class: 'badge' }, `QoS ${message.qos}`)];
		if (message.retain) {
			parts.push(make('span', { class: 'badge warm' }, 'Retained'));
		}
		if (message.dup) {
			parts.push(make('span', { class: 'badge' }, 'Again'));
		}
		parts.push(make('span', {}, sizeText(message.payload.length)));
		for (const { filter, colour } of subscriptions) {
			const dot = make('span', { class: 'swatch' });
			dot.style.setProperty('--stripe', colour);
			parts.push(make('span', { class: 'by mono' }, dot, filter));
		}
		return make('p', { class: 'detail-facts muted' }, ...parts);
	}

	tools(message, body) {
		const best = bestForm(message.payload);
		const draw = (form) => body.replaceChildren(...(message.payload.length
			? FORMS[form](message.payload) : [make('p', { class: 'muted' }, 'The payload is empty.')]));
		const segments = make('span', { class: 'segments tiny', role: 'radiogroup',
			'aria-label': 'Payload shown as' });
		for (const [form, name] of [['text', 'Text'], ['json', 'JSON'], ['hex', 'Hex']]) {
			segments.append(make('label', {}, make('input', { type: 'radio', name: 'shown-as', value: form,
				checked: form === best, onchange: () => draw(form) }), make('span', {}, name)));
		}
		draw(best);
		const copy = make('button', { type: 'button', class: 'plain', onclick: () =>
			copyText(textOf(message.payload) ?? hexOf(message.payload), copy) }, icon('copy'), make('span', {}, 'Copy'));
		const again = make('button', { type: 'button', class: 'plain', onclick: () =>
			this.actions.again(message) }, icon('send'), make('span', {}, 'Edit and publish'));
		const answer = message.properties?.responseTopic && make('button', { type: 'button',
			class: 'plain', onclick: () => this.actions.answer(message) }, icon('reply'), make('span', {}, 'Answer'));
		return make('div', { class: 'detail-tools' }, segments, make('span', { class: 'buttons' },
			copy, again, answer || null));
	}

	properties(message) {
		const rows = propertyRows(message.properties);
		if (!rows.length) {
			return [];
		}
		const list = make('dl', { class: 'facts' });
		for (const [name, value, kind] of rows) {
			list.append(make('dt', { class: kind === 'user' ? 'mono' : '' }, name), make('dd', { class: 'mono' }, value));
		}
		return [make('h4', {}, 'Properties'), list];
	}
}
