// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import test from 'node:test';
import { ExactNumber, bestForm, bytesOf, childGroups, foldedText, hexDump, hexOf, jsonOf, preview, sizeText, textOf }
	from '../src/lib/payload.js';

const utf8 = (text) => new TextEncoder().encode(text);

test('text is UTF-8 without control characters', () => {
	assert.equal(textOf(utf8('grün →\n\t')), 'grün →\n\t');
	assert.equal(textOf(utf8('\ufeffx')), '\ufeffx');
	assert.equal(textOf(Uint8Array.of(0xc3)), null);
	assert.equal(textOf(Uint8Array.of(65, 0)), null);
});

test('the form that suits a payload', () => {
	assert.equal(bestForm(utf8('{"a": 1}')), 'json');
	assert.equal(bestForm(utf8(' [1]')), 'json');
	assert.equal(bestForm(utf8('21.5')), 'text');
	assert.equal(bestForm(utf8('{"a": ')), 'text');
	assert.equal(bestForm(Uint8Array.of(0xff)), 'hex');
	assert.equal(bestForm(new Uint8Array()), 'text');
});

test('a preview is one line, and cuts no character in two', () => {
	assert.equal(preview(utf8('a\n\tb')), 'a b');
	assert.equal(preview(Uint8Array.of(0, 1, 255)), '00 01 ff');
	const long = preview(utf8('x'.repeat(299) + '→'.repeat(50)));
	assert.equal(long, 'x'.repeat(299) + ' …');
});

test('JSON keeps what JavaScript would round', () => {
	const json = jsonOf('{"n": 12345678901234567890, "m": 1.5}');
	assert.equal(json.value.m, 1.5);
	// Engines without the source of a number give the rounded one.
	if (json.value.n instanceof ExactNumber) {
		assert.equal(json.value.n.digits, '12345678901234567890');
	}
	assert.equal(jsonOf('nonsense'), null);
	assert.equal(jsonOf(null), null);
	assert.deepEqual(jsonOf('null'), { value: null });
});

test('folded values say how much they hold', () => {
	assert.equal(foldedText([1]), '[1 item]');
	assert.equal(foldedText({ a: 1, b: 2 }), '{2 keys}');
	assert.equal(foldedText([]), '[0 items]');
});

test('long arrays fold in groups', () => {
	const groups = childGroups(Array.from({ length: 250 }, (_x, index) => index));
	assert.deepEqual(groups.map(({ from, to }) => [from, to]), [[0, 100], [100, 200], [200, 250]]);
	assert.deepEqual(groups[2].entries[0], [200, 200]);
	assert.deepEqual(childGroups({ a: 1 })[0].entries, [['a', 1]]);
});

test('hex, as a line and as a dump', () => {
	assert.equal(hexOf(Uint8Array.of(0, 15, 255)), '00 0f ff');
	assert.equal(hexDump(utf8('0123456789abcdef\x01')),
		'000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef\n' +
		'000010  01                                                .');
});

test('what was typed becomes bytes, or a sentence', () => {
	assert.deepEqual(bytesOf('00 ff,0x1A', 'hex').bytes, Uint8Array.of(0, 255, 26));
	assert.match(bytesOf('0', 'hex').problem, /two hex digits/);
	assert.match(bytesOf('0g', 'hex').problem, /0-9/);
	assert.deepEqual(bytesOf('ä', 'text').bytes, Uint8Array.of(0xc3, 0xa4));
	assert.deepEqual(bytesOf('{}', 'json').bytes, utf8('{}'));
	assert.match(bytesOf('{', 'json').problem, /no JSON/);
});

test('sizes read well', () => {
	assert.deepEqual([0, 1023, 1024, 10240, 1 << 20, 5e9].map(sizeText),
		['0 B', '1023 B', '1.0 KiB', '10 KiB', '1.0 MiB', '4.7 GiB']);
});
