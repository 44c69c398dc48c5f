// SPDX-License-Identifier: Apache-2.0
// Contrast as WCAG 2 AA asks for it: 4.5 for text, 3 for the edges of controls and lines of charts.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

const css = readFileSync(new URL('../src/style/colours.css', import.meta.url), 'utf8');

function tokens(block) {
	return Object.fromEntries(Array.from(block.matchAll(/--([\w-]+): (#\w+);/g), ([, name, value]) => [name, value]));
}

function luminance(hex) {
	const digits = hex.length === 4 ? Array.from(hex.slice(1), (digit) => digit + digit).join('') : hex.slice(1);
	const [r, g, b] = [0, 2, 4].map((at) => parseInt(digits.slice(at, at + 2), 16) / 255)
		.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
	return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
	const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
	return (high + 0.05) / (low + 0.05);
}

const TEXT = [['text', 'ground'], ['text', 'surface'], ['text', 'raised'], ['text', 'soft'], ['text', 'bad-soft'],
	['text', 'warn-soft'], ['muted', 'ground'], ['muted', 'surface'], ['muted', 'raised'], ['muted', 'soft'],
	['accent', 'surface'], ['accent', 'ground'], ['accent', 'soft'], ['on-button', 'button'],
	['on-button', 'button-over'], ['bad', 'surface'], ['bad', 'bad-soft'], ['warn', 'warn-soft'], ['good', 'surface'],
	['json-string', 'ground'], ['json-number', 'ground'], ['json-word', 'ground'], ['surface', 'text']];
const EDGES = [['edge', 'surface'], ['edge', 'ground'], ['second', 'surface'], ['accent', 'surface'],
	['warn', 'surface']];

const blocks = css.split('}').map(tokens).filter((found) => Object.keys(found).length);
const themes = { light: blocks[0], 'dark by the system': blocks[1], 'dark by choice': blocks[2] };

for (const [name, theme] of Object.entries(themes)) {
	test(`${name}: everything can be read`, () => {
		for (const [front, back] of TEXT) {
			const found = contrast(theme[front], theme[back]);
			assert.ok(found >= 4.5, `${front} on ${back}: ${found.toFixed(2)}`);
		}
		for (const [front, back] of EDGES) {
			const found = contrast(theme[front], theme[back]);
			assert.ok(found >= 3, `${front} beside ${back}: ${found.toFixed(2)}`);
		}
	});
}

test('both dark themes are the same', () => {
	assert.deepEqual(blocks[1], blocks[2]);
});
