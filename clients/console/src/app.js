// SPDX-License-Identifier: Apache-2.0
// The page: which part is seen, and how messages go from the connection to the list.
import { byId, countText, make, plural, setIcon } from './lib/dom.js';
import { load, save } from './lib/storage.js';
import { link } from './link/link.js';
import { LiveView } from './live/view.js';
import { MessageDetail } from './messages/detail.js';
import { MessageList } from './messages/list.js';
import { Message, MessageStore, searchOf } from './messages/store.js';
import { showCommands, startCommands } from './panels/commands.js';
import { startConnect } from './panels/connect.js';
import { fillAnswer, fillFrom, startPublish } from './panels/publish.js';
import { allFilters, colourOf, count, isShown, showCounts, startSubscribe, subscriptionsOf }
	from './panels/subscribe.js';

const NUMBERS_MS = 250;
const THEMES = [['auto', 'as the system'], ['light', 'light'], ['dark', 'dark']];

// --- which part is seen --------------------------------------------------------------------------

let live = null;

// A panel of the test client, or 'live'. Where all panels have room, only live differs.
function go(panel) {
	if (document.body.dataset.panel !== panel) {
		document.body.dataset.panel = panel;
		byId('client').scrollTop = 0;
	}
	byId('client').hidden = panel === 'live';
	byId('live').hidden = panel !== 'live';
	for (const button of document.querySelectorAll('nav [data-go]')) {
		const isHere = button.classList.contains('tab')
			? (button.dataset.go === 'live') === (panel === 'live') : button.dataset.go === panel;
		if (isHere) {
			button.setAttribute('aria-current', 'page');
		} else {
			button.removeAttribute('aria-current');
		}
	}
	if (location.hash.slice(1) !== panel) {
		history.replaceState(null, '', `#${panel}`);
	}
	live?.draw();
	list.draw();
}

function startNavigation() {
	for (const button of document.querySelectorAll('[data-go]')) {
		button.addEventListener('click', () => go(button.dataset.go));
	}
	const named = () => {
		const panel = location.hash.slice(1);
		return ['connect', 'subscribe', 'publish', 'messages', 'live'].includes(panel) ? panel : 'connect';
	};
	window.addEventListener('hashchange', () => go(named()));
	go(named());
}

function startTheme() {
	const button = byId('theme');
	const show = (theme) => {
		const [name, text] = THEMES.find(([one]) => one === theme) ?? THEMES[0];
		document.documentElement.dataset.theme = name;
		setIcon(button, { auto: 'auto', light: 'sun', dark: 'moon' }[name]);
		button.setAttribute('aria-label', `Colours: ${text}`);
		button.title = `Colours: ${text}`;
		return name;
	};
	let theme = show(load('theme', 'auto'));
	button.addEventListener('click', () => {
		const at = THEMES.findIndex(([name]) => name === theme);
		theme = show(THEMES[(at + 1) % THEMES.length][0]);
		save('theme', theme);
	});
}

// --- messages ------------------------------------------------------------------------------------

const store = new MessageStore();
const list = new MessageList(byId('list'), byId('list-space'), store, colourOf);
const detail = new MessageDetail(byId('detail'), {
	again(message) {
		go('publish');
		fillFrom(message);
	},
	answer(message) {
		go('publish');
		fillAnswer(message);
	},
	close() {
		list.select(null);
		byId('list').focus();
	},
});
let arrived = 0;
let lost = 0;
let rate = 0;

function onMessages({ data: { rows, bytes, lost: left } }) {
	lost += left;
	for (const row of rows) {
		const message = new Message(row, new Uint8Array(bytes, row.from, row.to - row.from));
		message.subscriptions = subscriptionsOf(message);
		if (live.source.hear(message)) {
			continue;
		}
		arrived++;
		count(message);
		store.add(message);
	}
	list.wake();
}

function showNumbers() {
	const shown = list.source.shownSize;
	const parts = [];
	if (!store.total) {
		parts.push('No messages');
	} else if (store.search || shown !== store.size && !list.frozen) {
		parts.push(`${countText(shown)} of ${plural(store.size, 'message')}`);
	} else {
		parts.push(plural(shown, 'message'));
	}
	if (rate >= 0.5) {
		parts.push(`${countText(Math.round(rate))}/s`);
	}
	if (store.total > store.size) {
		parts.push(`the last of ${countText(store.total)}`);
	}
	if (lost) {
		parts.push(`${countText(lost)} came too fast to be shown`);
	}
	const text = parts.join(' · ');
	if (byId('counts').textContent !== text) {
		byId('counts').textContent = text;
	}
	const newer = byId('newer');
	newer.hidden = list.newer === 0;
	newer.textContent = list.newer ? `${countText(list.newer)} newer` : '';
}

function showEmpty() {
	const empty = byId('list-empty');
	const isEmpty = list.source.shownSize === 0;
	empty.hidden = !isEmpty;
	byId('list').classList.toggle('is-empty', isEmpty);
	if (!isEmpty) {
		return;
	}
	let texts = ['Nothing has come yet', 'Messages appear here as they arrive, the newest on top.'];
	if (store.size) {
		texts = ['Nothing passes the filter', `${plural(store.size, 'message')} ${store.size === 1 ? 'is' : 'are'} kept that it leaves out.`];
	} else if (!link.isConnected) {
		texts = ['Not connected', 'Connect and subscribe; messages then appear here.'];
	} else if (!allFilters().length) {
		texts = ['Nothing is subscribed', 'Subscribe to a topic, or to # for everything.'];
	}
	if (empty.dataset.text !== texts.join()) {
		empty.dataset.text = texts.join();
		empty.replaceChildren(make('h3', {}, texts[0]), make('p', {}, texts[1]));
	}
}

function refilter() {
	store.filter(searchOf(byId('filter').value), isShown);
	list.reset();
}

function startMessages() {
	link.addEventListener('messages', onMessages);
	link.addEventListener('state', () => list.draw());
	list.onselect = (message) => {
		detail.show(message, message?.subscriptions ?? []);
		byId('messages').classList.toggle('has-detail', Boolean(message));
	};
	list.ondraw = () => {
		showNumbers();
		showEmpty();
	};
	let typing = 0;
	byId('filter').addEventListener('input', () => {
		clearTimeout(typing);
		typing = setTimeout(refilter, 120);
	});
	byId('pause').addEventListener('click', ({ currentTarget: button }) => {
		const on = !list.isPaused;
		list.pause(on);
		button.setAttribute('aria-pressed', on);
		setIcon(button, on ? 'play' : 'pause');
		button.querySelector('span').textContent = on ? 'Go on' : 'Pause';
	});
	byId('clear').addEventListener('click', () => {
		store.clear();
		lost = 0;
		list.select(null);
		list.reset();
	});
	byId('newer').addEventListener('click', () => {
		list.toTop();
		byId('list').focus();
	});
	setInterval(() => {
		rate = rate * 0.5 + arrived * 1000 / NUMBERS_MS * 0.5;
		arrived = 0;
		showCounts();
		showNumbers();
	}, NUMBERS_MS);
}

startTheme();
startConnect();
startSubscribe({
	shown: refilter,
	commands: (subscription) => showCommands({ subscription }),
});
startPublish((publication) => showCommands({ publication }));
startCommands();
live = new LiveView();
startMessages();
startNavigation();
