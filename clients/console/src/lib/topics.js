// SPDX-License-Identifier: Apache-2.0
// Topic Names and Topic Filters, as the specification has them.

const UTF8 = new TextEncoder();
const LENGTH_MAX = 65535;

// What is wrong with a filter, in words for the person who typed it; '' if nothing is.
export function filterProblem(filter) {
	if (filter === '') {
		return 'A Topic Filter has at least one character; # stands for every topic.';
	}
	if (filter.includes('\0') || UTF8.encode(filter).length > LENGTH_MAX) {
		return 'A Topic Filter has at most 65,535 bytes, and no NUL.';
	}
	const levels = filter.split('/');
	if (levels[0] === '$share') {
		if (levels.length < 3 || levels[1] === '' || /[+#]/.test(levels[1]) ||
			levels.slice(2).join('/') === '') {
			return 'A shared subscription reads $share/GROUP/FILTER.';
		}
		return filterProblem(levels.slice(2).join('/'));
	}
	for (const [index, level] of levels.entries()) {
		if (level.includes('#') && (level !== '#' || index !== levels.length - 1)) {
			return '# stands alone and last, after a slash: sensors/#';
		}
		if (level.includes('+') && level !== '+') {
			return '+ stands alone between slashes: sensors/+/temperature';
		}
	}
	return '';
}

export function topicProblem(topic) {
	if (topic === '') {
		return 'A Topic Name has at least one character.';
	}
	if (/[+#]/.test(topic)) {
		return 'A message goes to one topic: + and # are for subscriptions.';
	}
	if (topic.includes('\0') || UTF8.encode(topic).length > LENGTH_MAX) {
		return 'A Topic Name has at most 65,535 bytes, and no NUL.';
	}
	return '';
}

// The part of a filter that topics are compared with: without $share/GROUP/.
export function sharedRest(filter) {
	return filter.startsWith('$share/') ? filter.split('/').slice(2).join('/') : filter;
}

// A function that says whether a topic matches the filter.
export function matcher(filter) {
	const wanted = sharedRest(filter).split('/');
	const open = wanted[wanted.length - 1] === '#';
	if (open) {
		wanted.pop();
	}
	const wild = open && wanted.length === 0 || wanted[0] === '+';
	if (!open && !wanted.includes('+')) {
		const plain = wanted.join('/');
		return (topic) => topic === plain;
	}
	return (topic) => {
		if (wild && topic.startsWith('$')) {
			return false;
		}
		const levels = topic.split('/');
		if (open ? levels.length < wanted.length : levels.length !== wanted.length) {
			return false;
		}
		return wanted.every((level, index) => level === '+' || level === levels[index]);
	};
}
