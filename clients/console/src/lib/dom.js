// SPDX-License-Identifier: Apache-2.0
// The few things that every part of the page does with the document.

export const byId = (id) => document.getElementById(id);

// make('button', {type: 'button', class: 'plain', onclick}, 'Text', node, ...)
export function make(tag, attributes = {}, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes)) {
		if (name.startsWith('on')) {
			element.addEventListener(name.slice(2), value);
		} else if (value === true) {
			element.setAttribute(name, '');
		} else if (value !== false && value !== undefined && value !== null) {
			element.setAttribute(name, value);
		}
	}
	element.append(...children.filter((child) => child !== null && child !== undefined));
	return element;
}

const SVG = 'http://www.w3.org/2000/svg';

export function makeSvg(tag, attributes = {}) {
	const element = document.createElementNS(SVG, tag);
	for (const [name, value] of Object.entries(attributes)) {
		element.setAttribute(name, value);
	}
	return element;
}

export function icon(name) {
	const svg = makeSvg('svg', { class: 'icon', 'aria-hidden': 'true' });
	svg.append(makeSvg('use', { href: `#i-${name}` }));
	return svg;
}

export function setIcon(button, name) {
	button.querySelector('use').setAttribute('href', `#i-${name}`);
}

// Tells those who do not see the page.
export function announce(text) {
	byId('announce').textContent = text;
}

// Shows a fact from errors.js in a notice; null hides it.
export function showNotice(element, told, kind = 'bad') {
	element.hidden = !told;
	element.className = `notice ${kind}`;
	element.replaceChildren();
	if (told) {
		element.append(make('strong', {}, told.title), make('p', {}, told.text));
		if (told.link) {
			element.append(make('a', { href: told.link, target: '_blank', rel: 'noopener' }, told.link));
		}
	}
}

export function showProblem(element, text) {
	element.hidden = !text;
	element.textContent = text;
}

// The clipboard needs a secure page (https, or this machine); elsewhere the old way does it.
export async function copyText(text, button) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		const area = make('textarea', { class: 'hidden', readonly: true }, text);
		(button.closest('dialog') ?? document.body).append(area);
		area.select();
		document.execCommand('copy');
		area.remove();
		button.focus();
	}
	const label = button.querySelector('span') ?? button;
	const before = label.textContent;
	if (before !== 'Copied') {
		label.textContent = 'Copied';
		setTimeout(() => {
			label.textContent = before;
		}, 1500);
	}
	announce('Copied');
}

// Elements with data-when="a b" are shown while all the words hold.
export function showWhen(root, holds) {
	for (const element of root.querySelectorAll('[data-when]')) {
		element.hidden = !element.dataset.when.split(' ').every((word) => holds[word]);
	}
}

export function timeText(ms) {
	const date = new Date(ms);
	const two = (number) => String(number).padStart(2, '0');
	return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}` +
		`.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

export const countText = (number) => number.toLocaleString('en');

export const plural = (number, one, many = `${one}s`) =>
	`${countText(number)} ${number === 1 ? one : many}`;
