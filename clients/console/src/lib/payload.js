// SPDX-License-Identifier: Apache-2.0
// What bytes are: text, JSON or neither; and back from what a person typed.

const STRICT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const LENIENT = new TextDecoder('utf-8', { ignoreBOM: true });
const UTF8 = new TextEncoder();
const PREVIEW_BYTES = 300;
const JSON_BYTES_MAX = 4 << 20;
// Control characters other than tab, line feed and carriage return belong to no text.
// eslint-disable-next-line no-control-regex
const CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/;

// The text, or null where the bytes are none.
export function textOf(bytes) {
	try {
		const text = STRICT.decode(bytes);
		return CONTROL.test(text) ? null : text;
	} catch {
		return null;
	}
}

// One line for a list: the beginning of the text, or of the bytes in hex.
export function preview(bytes) {
	const head = bytes.subarray(0, PREVIEW_BYTES);
	let text = LENIENT.decode(head);
	if (bytes.length > head.length) {
		text = text.replace(/\ufffd+$/, '');
	}
	if (CONTROL.test(text) || text.includes('\ufffd')) {
		return hexOf(bytes.subarray(0, 64)) + (bytes.length > 64 ? ' …' : '');
	}
	return text.replace(/\s+/g, ' ') + (bytes.length > head.length ? ' …' : '');
}

export function hexOf(bytes) {
	let text = '';
	for (const byte of bytes) {
		text += (text ? ' ' : '') + byte.toString(16).padStart(2, '0');
	}
	return text;
}

// Lines of offset, hex and printable characters, as hexdump -C prints them.
export function hexDump(bytes, from = 0, to = bytes.length) {
	const lines = [];
	for (let at = from; at < to; at += 16) {
		const row = bytes.subarray(at, Math.min(at + 16, to));
		const hex = Array.from(row, (byte) => byte.toString(16).padStart(2, '0'));
		const left = hex.slice(0, 8).join(' ').padEnd(23);
		const right = hex.slice(8).join(' ').padEnd(23);
		const text = Array.from(row, (byte) =>
			byte > 31 && byte < 127 ? String.fromCharCode(byte) : '.').join('');
		lines.push(`${at.toString(16).padStart(6, '0')}  ${left}  ${right}  ${text}`);
	}
	return lines.join('\n');
}

// A number whose digits JavaScript would not keep, such as 12345678901234567890.
export class ExactNumber {
	constructor(digits) {
		this.digits = digits;
	}
}

function keepDigits(_key, value, context) {
	if (typeof value === 'number' && context?.source && String(value) !== context.source) {
		return new ExactNumber(context.source);
	}
	return value;
}

// {value} if the text is a JSON object, array or other value that is worth a tree, or null.
export function jsonOf(text) {
	if (text === null || text.length > JSON_BYTES_MAX || !/^\s*["[{\d\-tfn]/.test(text)) {
		return null;
	}
	try {
		return { value: JSON.parse(text, keepDigits) };
	} catch {
		return null;
	}
}

export function isFoldable(value) {
	return typeof value === 'object' && value !== null && !(value instanceof ExactNumber);
}

// What a folded object or array says of itself.
export function foldedText(value) {
	if (Array.isArray(value)) {
		return value.length === 1 ? '[1 item]' : `[${value.length} items]`;
	}
	const keys = Object.keys(value);
	return keys.length === 1 ? '{1 key}' : `{${keys.length} keys}`;
}

// The children of value in groups of at most `size`, so that no one unfolds 100,000 rows at once:
// [{from, to, entries}], entries being [key, value].
export function childGroups(value, size = 100) {
	const entries = Array.isArray(value) ? value.map((item, index) => [index, item])
		: Object.entries(value);
	const groups = [];
	for (let from = 0; from < entries.length; from += size) {
		const part = entries.slice(from, from + size);
		groups.push({ from, to: from + part.length, entries: part });
	}
	return groups;
}

// How a payload is best shown: 'json', 'text' or 'hex'.
export function bestForm(bytes) {
	const text = textOf(bytes);
	if (text === null) {
		return 'hex';
	}
	const json = jsonOf(text);
	return json && isFoldable(json.value) ? 'json' : 'text';
}

// What was typed as bytes: {bytes} or {problem}.
export function bytesOf(typed, form) {
	if (form === 'hex') {
		const digits = typed.replace(/0x|[\s,:]/gi, '');
		if (/[^0-9a-f]/i.test(digits)) {
			return { problem: 'Hex has the digits 0-9 and a-f only, such as: 00 ff 1a' };
		}
		if (digits.length % 2) {
			return { problem: 'Each byte has two hex digits; one is missing.' };
		}
		const bytes = new Uint8Array(digits.length / 2);
		for (let i = 0; i < bytes.length; i++) {
			bytes[i] = parseInt(digits.slice(2 * i, 2 * i + 2), 16);
		}
		return { bytes };
	}
	if (form === 'json') {
		try {
			JSON.parse(typed);
		} catch (error) {
			return { problem: `This is no JSON: ${error.message}` };
		}
	}
	return { bytes: UTF8.encode(typed) };
}

export function sizeText(bytes) {
	if (bytes < 1024) {
		return `${bytes} B`;
	}
	const units = ['KiB', 'MiB', 'GiB', 'TiB'];
	let size = bytes;
	let unit = -1;
	do {
		size /= 1024;
		unit++;
	} while (size >= 1024 && unit < units.length - 1);
	return `${size.toFixed(size < 10 ? 1 : 0)} ${units[unit]}`;
}
