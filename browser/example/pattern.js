// The test pattern of pipeline/feed/pattern, drawn by a page: frame counter, a white
// square and a click at each whole second.

const ROWS = 2, COLS = 20, BAND = 14, BLACK = 16, WHITE = 235;

function crc8(n) {
  let crc = 0xff;
  for (let shift = 24; shift >= 0; shift -= 8) {
    crc ^= (n >>> shift) & 0xff;
    for (let i = 0; i < 8; i++) crc = crc & 0x80 ? ((crc << 1) ^ 0x2f) & 0xff : (crc << 1) & 0xff;
  }
  return crc ^ 0xff;
}

const int = Math.trunc;

// rects gives [x0, y0, x1, y1, white] of everything that carries meaning in frame n.
function rects(n, w, h, flash) {
  const bits = [];
  const crc = crc8(n);
  for (let i = 31; i >= 0; i--) bits.push((n >>> i) & 1);
  for (let i = 7; i >= 0; i--) bits.push((crc >> i) & 1);
  const out = bits.map((bit, i) => {
    const up = ROWS - int(i / COLS), col = i % COLS;
    return [int((col * w) / COLS), h - int((up * h) / BAND), int(((col + 1) * w) / COLS), h - int(((up - 1) * h) / BAND), bit === 1];
  });
  const side = int(Math.min(w, h) / 6);
  out.push([w - side - int(w / 32), int(h / 24), w - int(w / 32), int(h / 24) + side, flash]);
  return out;
}

export const flashes = (n, fps) => n % fps === 0;

// draw fills an I420 picture whose width is a multiple of 8.
export function draw(buf, n, w, h, fps) {
  buf.fill(60 + (n % 120), 0, (w * h) / 2);
  buf.fill(180 - (n % 120), (w * h) / 2, w * h);
  buf.fill(128, w * h);
  for (const [x0, y0, x1, y1, white] of rects(n, w, h, flashes(n, fps))) {
    for (let y = y0; y < y1; y++) buf.fill(white ? WHITE : BLACK, y * w + x0, y * w + x1);
  }
}

export function paint(ctx, n, w, h, fps) {
  ctx.fillStyle = `hsl(${n % 360}, 40%, 50%)`;
  ctx.fillRect(0, 0, w, h);
  for (const [x0, y0, x1, y1, white] of rects(n, w, h, flashes(n, fps))) {
    ctx.fillStyle = white ? "#fff" : "#000";
    ctx.fillRect(x0, y0, x1 - x0, y1 - y0);
  }
}

// click writes 5 ms of 1 kHz into interleaved or plain samples.
export function click(samples, from, channels, rate) {
  for (let i = 0; i < rate * 0.005 && (from + i + 1) * channels <= samples.length; i++) {
    for (let c = 0; c < channels; c++) samples[(from + i) * channels + c] = 0.8 * Math.cos((2 * Math.PI * 1000 * i) / rate);
  }
}
