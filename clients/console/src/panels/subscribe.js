// SPDX-License-Identifier: Apache-2.0
// The subscriptions: each with its QoS, colour and count; made again with every connection.
import { byId, countText, icon, make, setIcon, showProblem, showWhen } from '../lib/dom.js';
import { load, save } from '../lib/storage.js';
import { filterProblem, matcher } from '../lib/topics.js';
import { explainSubscribe } from '../link/errors.js';
import { link } from '../link/link.js';
import { isVersion5 } from './connect.js';

const COLOURS = ['#4c7ef3', '#e0883a', '#2fa47c', '#b564d8', '#d9537c', '#3aa3c4', '#a28b1f', '#7a6cf0'];
const OTHER_COLOUR = '#8a90a2';
const form = byId('subscribe-form');
const fields = form.elements;
const list = byId('subscriptions');
const problem = byId('subscribe-problem');
const subscriptions = [];
let lastIdentifier = 0;
let onshown = () => {};
let oncommands = () => {};

function remember() {
	save('subscriptions', subscriptions.map(({ filter, qos, noLocal, retainAsPublished, retainHandling,
		colour }) => ({ filter, qos, noLocal, retainAsPublished, retainHandling, colour })));
}

function freeColour() {
	const used = new Set(subscriptions.map(({ colour }) => colour));
	return COLOURS.find((colour) => !used.has(colour)) ?? COLOURS[subscriptions.length % COLOURS.length];
}

function makeItem(subscription) {
	const { filter } = subscription;
	const parts = subscription.parts = {
		colour: make('input', { type: 'color', value: subscription.colour, class: 'colour',
			'aria-label': `Colour of ${filter}`, title: 'Colour', oninput: () => recolour(subscription) }),
		qos: make('span', { class: 'badge' }),
		count: make('span', { class: 'count' }),
		eye: make('button', { type: 'button', class: 'icon-button', 'aria-pressed': 'false',
			'aria-label': `Hide messages of ${filter}`, title: 'Hide its messages', onclick: () => toggle(subscription) }, icon('eye')),
		problem: make('p', { class: 'problem', role: 'alert', hidden: true }),
	};
	return make('li', { class: 'subscription' },
		make('div', { class: 'subscription-line' }, parts.colour,
			make('span', { class: 'mono filter', title: filter }, filter), parts.eye,
			make('button', { type: 'button', class: 'icon-button', 'aria-label': `${filter} as a command`,
				title: 'As a command', onclick: () => oncommands(subscription) }, icon('code')),
			make('button', { type: 'button', class: 'icon-button', 'aria-label': `Unsubscribe from ${filter}`,
				title: 'Unsubscribe', onclick: () => remove(subscription) }, icon('x'))),
		make('div', { class: 'subscription-facts muted' }, parts.qos, parts.count), parts.problem);
}

// What stands below a subscription: what the broker granted, or why it did not.
function show(subscription) {
	const { parts, granted, qos, state, told, count } = subscription;
	const texts = { wanted: `QoS ${qos}`, asked: 'asking …', live: `QoS ${granted}`, refused: told?.title };
	parts.qos.textContent = state === 'live' && granted < qos ? `QoS ${granted}, not ${qos}` : texts[state];
	parts.qos.className = `badge ${state === 'refused' ? 'bad' : ''}`;
	parts.count.textContent = state === 'wanted' ? 'not active' : `${countText(count)} received`;
	showProblem(parts.problem, state === 'refused' ? told.text : '');
}

function recolour(subscription) {
	subscription.colour = subscription.parts.colour.value;
	remember();
	onshown();
}

function toggle(subscription) {
	subscription.isHidden = !subscription.isHidden;
	const { eye } = subscription.parts;
	eye.setAttribute('aria-pressed', subscription.isHidden);
	setIcon(eye, subscription.isHidden ? 'eye-off' : 'eye');
	onshown();
}

function add(wanted) {
	const subscription = { ...wanted, colour: wanted.colour ?? freeColour(), count: 0, state: 'wanted',
		isHidden: false, identifier: ++lastIdentifier, matches: matcher(wanted.filter) };
	subscriptions.push(subscription);
	subscription.item = makeItem(subscription);
	list.append(subscription.item);
	show(subscription);
	byId('subscriptions-empty').hidden = true;
	return subscription;
}

async function remove(subscription) {
	const index = subscriptions.indexOf(subscription);
	subscriptions.splice(index, 1);
	const hadFocus = subscription.item.contains(document.activeElement);
	subscription.item.remove();
	byId('subscriptions-empty').hidden = subscriptions.length > 0;
	if (hadFocus) {
		(subscriptions[index] ?? subscriptions[index - 1])?.item.querySelector('button').focus();
		if (!subscriptions.length) {
			fields.filter.focus();
		}
	}
	remember();
	if (link.isConnected) {
		await link.ask('unsubscribe', { filter: subscription.filter });
	}
}

function takesIdentifiers() {
	return link.wanted?.version === 5 &&
		link.now.properties?.subscriptionIdentifiersAvailable !== false;
}

async function ask(subscription) {
	subscription.state = 'asked';
	show(subscription);
	const { filter, qos, noLocal, retainAsPublished, retainHandling, identifier } = subscription;
	const answer = await link.ask('subscribe', { filter, qos, noLocal, retainAsPublished, retainHandling,
		identifier: takesIdentifiers() ? identifier : 0 });
	if (answer.ok) {
		subscription.state = 'live';
		subscription.granted = answer.qos;
	} else if (answer.code) {
		subscription.state = 'refused';
		subscription.told = explainSubscribe(answer.code, filter, answer.reasonString);
	} else {
		subscription.state = 'wanted';
	}
	show(subscription);
}

function submit(event) {
	event.preventDefault();
	const filter = fields.filter.value.trim();
	let wrong = filterProblem(filter);
	if (!wrong && fields.noLocal.checked && isVersion5() && filter.startsWith('$share/')) {
		wrong = 'A shared subscription cannot leave out what one publishes oneself (No Local).';
	}
	showProblem(problem, wrong);
	fields.filter.setAttribute('aria-invalid', wrong !== '');
	if (wrong) {
		fields.filter.focus();
		return;
	}
	const wanted = { filter, qos: Number(fields.qos.value), noLocal: fields.noLocal.checked,
		retainAsPublished: fields.retainAsPublished.checked,
		retainHandling: Number(fields.retainHandling.value) };
	// The same filter again replaces the subscription, as it does in the broker.
	let subscription = subscriptions.find((one) => one.filter === filter);
	if (subscription) {
		Object.assign(subscription, wanted);
	} else {
		subscription = add(wanted);
	}
	fields.filter.value = '';
	remember();
	if (link.isConnected) {
		ask(subscription);
	} else {
		show(subscription);
		showProblem(problem, 'Noted; it becomes active with the connection.');
	}
}

function onState() {
	for (const subscription of subscriptions) {
		if (link.isConnected) {
			ask(subscription);
		} else if (subscription.state !== 'wanted') {
			subscription.state = 'wanted';
			show(subscription);
		}
	}
	if (link.isConnected) {
		showProblem(problem, '');
	}
}

// Those that a message came for: by its identifiers where the broker tells, else by its topic.
export function subscriptionsOf(message) {
	const told = message.properties?.subscriptionIdentifier;
	if (told !== undefined) {
		const identifiers = new Set([].concat(told));
		// A session from before this page may hold others, whose identifiers mean nothing here.
		return subscriptions.filter(({ identifier, matches }) =>
			identifiers.has(identifier) && matches(message.topic));
	}
	return subscriptions.filter(({ matches }) => matches(message.topic));
}

export function count(message) {
	for (const subscription of message.subscriptions) {
		subscription.count++;
		subscription.isStale = true;
	}
}

// The numbers beside the subscriptions; called a few times a second.
export function showCounts() {
	for (const subscription of subscriptions) {
		if (subscription.isStale) {
			subscription.isStale = false;
			show(subscription);
		}
	}
}

export function colourOf(message) {
	return message.subscriptions[0]?.colour ?? OTHER_COLOUR;
}

export function isShown(message) {
	const from = message.subscriptions;
	return from.length === 0 || from.some(({ isHidden }) => !isHidden);
}

export function allFilters() {
	return subscriptions.map(({ filter }) => filter);
}

// actions: {shown(), commands(subscription)}
export function startSubscribe(actions) {
	onshown = actions.shown;
	oncommands = actions.commands;
	for (const wanted of load('subscriptions', [])) {
		if (filterProblem(wanted.filter ?? '') === '') {
			add(wanted);
		}
	}
	form.addEventListener('submit', submit);
	byId('subscriptions-empty').addEventListener('click', (event) => {
		const chip = event.target.closest('[data-filter]');
		if (chip) {
			fields.filter.value = chip.dataset.filter;
			form.requestSubmit();
		}
	});
	const version = () => showWhen(form, { v5: isVersion5() });
	byId('connect-form').addEventListener('versionchange', version);
	version();
	link.addEventListener('state', onState);
}
