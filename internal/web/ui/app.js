// Has the numbers of a view go on by themselves, draws their rates, follows the tail of a topic, and
// copies commands. Without it each view is complete, as of its loading.
'use strict';
(() => {
  const columns = {
    topics: ['in', 'out', 'messages', 'bytes', 'oldest', 'lag', 'delayed', 'dead'],
    groups: ['lag', 'oldest', 'unacknowledged', 'waiting', 'attempt', 'members', 'lost'],
    partitions: ['start', 'end', 'messages', 'bytes'],
  };
  const rates = new Set(['in', 'out']);
  const points = 60; // of a sparkline, one a second
  const svg = 'http://www.w3.org/2000/svg';

  const make = (tag, className, text) => {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const grouped = new Intl.NumberFormat('en-US');
  const bytes = (n) => {
    if (n < 1024) return n + ' B';
    let unit = -1;
    do { n /= 1024; unit++; } while (n >= 1024);
    return n.toFixed(n < 100 ? 1 : 0) + ' ' + 'KMGTPE'[unit] + 'iB';
  };
  const rate = (n) => n === 0 ? '0' : n < 10 ? n.toFixed(1) : grouped.format(Math.round(n));
  const span = (ms) => {
    const s = ms / 1000;
    if (s < 60) return Math.floor(s) + ' s';
    if (s < 3600) return Math.floor(s / 60) + ' min';
    if (s < 172800) return Math.floor(s / 3600) + ' h';
    return Math.floor(s / 86400) + ' d';
  };
  const iso = (ms) => { const t = new Date(ms); return isNaN(t) ? String(ms) : t.toISOString().replace('T', ' ').replace('Z', ''); };
  const age = (at, now) => at > now ? 'in ' + span(at - now) : now - at < 1000 ? 'now' : span(now - at);

  // Bytes that would not be seen are escaped, as the broker does in the views that it makes.
  const visible = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => {
    if (c === '\n' || c === '\t') return c;
    const code = c.codePointAt(0);
    return code < 0x80 ? '\\x' + code.toString(16).padStart(2, '0') : '\\u{' + code.toString(16) + '}';
  });

  // Sparklines

  class Series {
    constructor() { this.total = null; this.time = 0; this.values = []; }

    // add takes a total, which only grows, but for what was deleted.
    add(total, time) {
      if (this.total !== null && time > this.time) {
        this.values.push(Math.max(0, (total - this.total) * 1000 / (time - this.time)));
        if (this.values.length > points) this.values.shift();
      }
      this.total = total;
      this.time = time;
    }

    latest() { return this.values.length ? this.values[this.values.length - 1] : null; }
  }

  const drawRate = (cell, series) => {
    const latest = series.latest();
    if (latest === null) return;
    let text = cell.querySelector('.rate');
    if (!text) {
      text = make('span', 'rate');
      const picture = document.createElementNS(svg, 'svg');
      picture.setAttribute('class', 'spark');
      picture.setAttribute('viewBox', '0 0 72 18');
      picture.setAttribute('aria-hidden', 'true');
      const area = document.createElementNS(svg, 'path');
      area.setAttribute('class', 'area');
      picture.append(area, document.createElementNS(svg, 'path'));
      cell.replaceChildren(text, picture);
    }
    text.textContent = rate(latest);
    const most = Math.max(1, ...series.values);
    const step = 72 / (points - 1);
    const first = points - series.values.length;
    const line = series.values.map((v, i) => ((first + i) * step).toFixed(1) + ' ' + (17 - 16 * v / most).toFixed(1)).join('L');
    const [area, path] = cell.querySelectorAll('path');
    path.setAttribute('d', 'M' + line);
    area.setAttribute('d', 'M' + (first * step).toFixed(1) + ' 17L' + line + 'L72 17Z');
  };

  // Numbers

  const series = new Map();
  const state = document.getElementById('state');
  const cells = new Map(); // by kind and key: cells by column
  const drawn = new Map(); // what was drawn last, by cell, for ages

  const find = () => {
    for (const table of document.querySelectorAll('table[data-rows]')) {
      const places = [...table.tHead.rows[0].cells].map((th) => th.dataset.col);
      for (const row of table.tBodies[0].rows) {
        const of = {};
        places.forEach((name, i) => { if (name) of[name] = row.cells[i]; });
        cells.set(table.dataset.rows + ' ' + row.dataset.key, of);
      }
    }
    for (const list of document.querySelectorAll('[data-tiles]')) {
      const of = {};
      for (const dd of list.querySelectorAll('[data-col]')) of[dd.dataset.col] = dd;
      cells.set(list.dataset.tiles + ' ' + list.dataset.key, of);
    }
  };

  const setText = (cell, text) => {
    const at = cell.querySelector('a') || cell;
    if (at.textContent !== text) at.textContent = text;
  };

  const draw = (kind, key, row, now) => {
    const of = cells.get(kind + ' ' + key);
    if (!of) return;
    columns[kind].forEach((name, i) => {
      const cell = of[name];
      if (!cell || rates.has(name)) return;
      if (name === 'oldest') {
        drawn.set(cell, row[i]);
        setText(cell, row[i] ? age(row[i], now) : '–');
      } else if (name === 'bytes') {
        setText(cell, bytes(row[i]));
      } else if (!(name === 'lag' && kind === 'topics' && row[i] === 0 && cell.textContent === '–')) {
        setText(cell, grouped.format(row[i]));
      }
      if (name === 'dead' && cell.querySelector('a')) cell.querySelector('a').classList.toggle('bad', row[i] > 0);
    });
  };

  // totals are those of the rows that were sent last: what is not sent again is as before.
  const totals = new Map();

  const take = (event) => {
    const now = event.t;
    for (const kind of Object.keys(columns)) {
      for (const [key, row] of Object.entries(event[kind] || {})) {
        draw(kind, key, row, now);
        if (kind === 'topics') totals.set(key, row);
      }
    }
    for (const [key, row] of totals) {
      const of = cells.get('topics ' + key);
      if (!of) continue;
      columns.topics.forEach((name, i) => {
        if (!rates.has(name) || !of[name]) return;
        const id = key + ' ' + name;
        if (!series.has(id)) series.set(id, new Series());
        series.get(id).add(row[i], now);
        drawRate(of[name], series.get(id));
      });
    }
    for (const [cell, at] of drawn) if (at) setText(cell, age(at, now));
    state.className = 'state ' + (event.status === 'ok' || !event.status ? 'live' : 'bad'); // not all users may know it
    if (event.gone) {
      state.className = 'state bad';
      state.textContent = 'deleted';
    } else state.textContent = event.status === 'ok' ? 'live' : event.status === 'degraded' ? 'live, with a problem' : event.status ? 'failing' : 'live';
  };

  // A stream that the broker has refused, and not only lost, does not come again by itself. It leads to the log-in
  // form where that is missing; what was typed into the page stays until then.
  const refused = async () => {
    const answer = await fetch('/ui/numbers', { method: 'HEAD' }).catch(() => null);
    if (!answer || answer.status !== 401) return;
    const link = make('a', '', 'log in again');
    link.href = '/login?to=' + encodeURIComponent(location.pathname + location.search);
    state.replaceChildren(link);
  };

  const follow = () => {
    const query = document.body.dataset.live;
    if (query === '-' || !window.EventSource) return;
    find();
    let source = null;
    const open = () => {
      if (source) return;
      totals.clear();
      series.clear();
      source = new EventSource('/ui/numbers?' + query);
      source.onmessage = (e) => take(JSON.parse(e.data));
      source.onerror = () => {
        state.className = 'state bad';
        state.textContent = 'not connected';
        if (source.readyState !== EventSource.CLOSED) return;
        close();
        refused();
      };
    };
    const close = () => { if (source) source.close(); source = null; };
    document.addEventListener('visibilitychange', () => { if (document.hidden) close(); else open(); });
    window.addEventListener('pagehide', close);
    window.addEventListener('pageshow', () => { if (!document.hidden) open(); });
    if (!document.hidden) open();
  };

  // Live tail

  const most = 500; // messages that are shown; older ones go
  const bytesOf = (m, name) => {
    if (m[name + '_base64'] !== undefined && m[name + '_base64'] !== null) return atob(m[name + '_base64']).replace(/[^\x20-\x7e]/g, (c) => '\\x' + c.charCodeAt(0).toString(16).padStart(2, '0'));
    return m[name] === undefined ? null : m[name];
  };
  const headersOf = (m) => {
    const list = m.headers || (m.headers_base64 || []).map((v, i) => i % 2 && v !== null ? atob(v) : v);
    const pairs = [];
    for (let i = 0; i + 1 < list.length; i += 2) pairs.push([list[i], list[i + 1] === null ? '' : list[i + 1]]);
    return pairs;
  };
  const field = (text, path) => {
    let v;
    try { v = JSON.parse(text); } catch { return null; }
    for (const name of path.split('.')) {
      if (v === null || typeof v !== 'object' || !Object.hasOwn(v, name)) return null;
      v = v[name];
    }
    return typeof v === 'string' ? v : JSON.stringify(v);
  };
  const matches = (m) => {
    const text = document.getElementById('find').value;
    if (!text) return true;
    const where = document.getElementById('in').value;
    const name = document.getElementById('name').value;
    const has = (v) => v !== null && v.includes(text);
    if (where === 'key') return has(m.key);
    if (where === 'value') return has(m.value);
    if (where === 'json') return m.value !== null && has(field(m.value, name));
    if (where === 'any' && (has(m.key) || has(m.value))) return true;
    return m.headers.some(([k, v]) => (where === 'any' || !name || k === name) && has(v));
  };
  const article = (m) => {
    const e = make('article', 'message');
    const meta = make('p', 'meta');
    const time = make('time', '', iso(m.ts));
    meta.append(make('span', 'place', m.partition + ':' + m.offset), ' ', time);
    if (m.key) { const k = make('span', 'key', visible(m.key)); k.title = 'key'; meta.append(' ', k); }
    for (const [name, value] of m.headers) {
      const h = make('span', 'header');
      h.append(make('span', 'hname', visible(name)), ' ' + visible(value));
      meta.append(' ', h);
    }
    const value = make('pre', 'value');
    if (m.value === null) value.append(make('em', '', 'null'));
    else value.textContent = visible(m.value.length > 2000 ? m.value.slice(0, 2000) + '…' : m.value);
    e.append(meta, value);
    return e;
  };

  const tail = () => {
    const box = document.getElementById('tail');
    if (!box || !window.EventSource) return;
    box.hidden = false;
    const button = (id) => document.getElementById(id);
    const live = button('live'), said = button('tailstate');
    let source = null, paused = false, waiting = [], shown = 0, hidden = 0, dropped = 0, frame = 0;
    const tell = () => {
      if (!source) { said.textContent = ''; return; }
      said.textContent = (paused ? 'paused, ' + grouped.format(waiting.length) + ' waiting' : grouped.format(shown) + ' shown') +
        (hidden ? ', ' + grouped.format(hidden) + ' do not match' : '') + (dropped ? ', ' + grouped.format(dropped) + ' left out' : '');
    };
    const flush = () => {
      frame = 0;
      if (!paused && waiting.length) {
        const atEnd = live.scrollTop + live.clientHeight >= live.scrollHeight - 40;
        const more = document.createDocumentFragment();
        for (const m of waiting.splice(0)) {
          shown++;
          more.append(article(m));
        }
        live.append(more);
        while (live.childElementCount > most) live.firstElementChild.remove();
        if (atEnd) live.scrollTop = live.scrollHeight;
      }
      tell();
    };
    const later = () => { if (!frame) frame = setTimeout(flush, 100); };
    const stop = () => {
      if (source) source.close();
      source = null;
      button('follow').setAttribute('aria-pressed', 'false');
      button('pause').disabled = true;
      tell();
    };
    button('follow').addEventListener('click', () => {
      if (source) { stop(); return; }
      live.hidden = false;
      button('follow').setAttribute('aria-pressed', 'true');
      button('pause').disabled = button('clear').disabled = false;
      source = new EventSource('/topics/' + encodeURIComponent(box.dataset.topic) + '/messages?from=end&follow&format=sse');
      source.onopen = later;
      source.onmessage = (e) => {
        const m = JSON.parse(e.data);
        const got = { partition: m.partition, offset: m.offset, ts: m.ts, key: bytesOf(m, 'key'), value: bytesOf(m, 'payload'), headers: headersOf(m) };
        if (matches(got)) waiting.push(got); else hidden++;
        if (waiting.length > most) { waiting.shift(); dropped++; } // as it would not be shown for longer than a moment
        later();
      };
      source.addEventListener('problem', (e) => { stop(); said.textContent = JSON.parse(e.data).detail; });
      source.onerror = () => {
        const again = source.readyState !== EventSource.CLOSED;
        if (!again) stop();
        said.textContent = again ? 'not connected; trying again' : 'not connected';
      };
    });
    button('pause').addEventListener('click', () => {
      paused = !paused;
      button('pause').setAttribute('aria-pressed', String(paused));
      button('pause').textContent = paused ? 'Go on' : 'Pause';
      later();
    });
    button('clear').addEventListener('click', () => { live.replaceChildren(); shown = hidden = dropped = 0; tell(); });
    window.addEventListener('pagehide', stop);
  };

  // Commands

  const copies = () => {
    if (!navigator.clipboard) return;
    for (const box of document.querySelectorAll('.command')) {
      const b = make('button', '', 'Copy');
      b.type = 'button';
      b.addEventListener('click', async () => {
        try { await navigator.clipboard.writeText(box.querySelector('code').textContent); b.textContent = 'Copied'; } catch { b.textContent = 'Not allowed'; }
        setTimeout(() => { b.textContent = 'Copy'; }, 1500);
      });
      box.append(b);
    }
  };

  // What was done is not told again by a reload, nor by a bookmark.

  const forget = () => {
    const here = new URL(location.href);
    if (!here.searchParams.has('done')) return;
    here.searchParams.delete('done');
    history.replaceState(null, '', here);
  };

  forget();
  follow();
  tail();
  copies();
})();
