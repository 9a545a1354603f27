// RGB pictures to I420, the layout that encoders want: here it costs a quarter of what
// it costs in mpipe, and a third as much is handed over (docs/decisions/0011).

// wasm/i420.c, compiled by wasm/build.sh.
const WASM = "AGFzbQEAAAABDQFgCX9/f39/f39/fwADAgEABAUBcAEBAQUDAQABBgcBfwFBgCALBxECBm1lbW9yeQIABGk0MjAAAAqWDgGTDhEBfwF7AX8BewF/AXsBfwN7A38CewF/AXsBfwF7En8LewN/AkAgBUEBSA0AIAhBIGoiCf0IAQAhCiAIQRxqIgv9CAEAIQwgCEEUaiIN/QgBACEOIAhBEGoiD/0IAQAhECAI/QgBGCERIAj9CAEMIRIgBEEDdCETIAZBAXQhFCAEQQJ0IRX9DAAAAAAAAAAAAAAAAAAAAAAiFiAI/QcAAP0NEAERAxIFEwcUCRULFg0XDyEXIBYgCEEIaiIY/QcAAP0NEAERAxIFEwcUCRULFg0XDyEZIBYgCEEEaiIa/QcAAP0NEAERAxIFEwcUCRULFg0XDyEbIARBEEghHCAAIR0gAyEeIAIhHyABISBBACEhA0AgBkEAICFBAXIgBUgiIhshIyAVQQAgIhshJEEAISUCQCAcDQAgASAhIAZsaiImICNqIScgACAVICFsaiIoICRqISkgAyAhQQF2IAdsIiJqISogAiAiaiErQQAhIkEQISwDQCApICJBAnQiLWoiJf0AABAhLiAl/QAAACEvICX9AAAwITAgJf0AACAhMSAmICJqICggLWoiJf0AAAAiFiAl/QAAECIy/Q0ABAgMEBQYHAEFCQ0RFRkdIjMgJf0AACAiNCAl/QAAMCI1/Q0ABAgMEBQYHAEFCQ0RFRkdIjb9DQABAgMEBQYHEBESExQVFhciN/2JASAX/ZUBIDMgNv0NCAkKCwwNDg8YGRobHB0eHyIz/YkBIBv9lQH9jgEgFiAy/Q0CBgoOEhYaHgIGCg4SFhoeIDQgNf0NAgYKDhIWGh4CBgoOEhYaHv0NAAECAwQFBgcQERITFBUWFyIy/YkBIBn9lQH9jgH9DIAAgACAAIAAgACAAIAAgAAiFv2OAUEI/Y0BIDf9igEgF/2VASAz/YoBIBv9lQH9jgEgMv2KASAZ/ZUB/Y4BIBb9jgFBCP2NAf1m/QwQEBAQEBAQEBAQEBAQEBAQIjb9bv0LAAAgJyAiaiAvIC79DQAECAwQFBgcAQUJDREVGR0iNSAxIDD9DQAECAwQFBgcAQUJDREVGR0iOP0NAAECAwQFBgcQERITFBUWFyI0/YkBIBf9lQEgNSA4/Q0ICQoLDA0ODxgZGhscHR4fIjX9iQEgG/2VAf2OASAvIC79DQIGCg4SFhoeAgYKDhIWGh4gMSAw/Q0CBgoOEhYaHgIGCg4SFhoe/Q0AAQIDBAUGBxAREhMUFRYXIi79iQEgGf2VAf2OASAW/Y4BQQj9jQEgNP2KASAX/ZUBIDX9igEgG/2VAf2OASAu/YoBIBn9lQH9jgEgFv2OAUEI/Y0B/WYgNv1u/QsAACArICJBAXYiImogN/19IDT9ff2OAf0MAgACAAIAAgACAAIAAgACACIv/Y4BQQL9jQEiMCAS/ZUBIDP9fSA1/X39jgEgL/2OAUEC/Y0BIjEgEP2VAf2OASAy/X0gLv19/Y4BIC/9jgFBAv2NASIuIA79lQH9jgEgFv2OAUEI/YwBIBb9jgEgMCAR/ZUBIDEgDP2VAf2OASAuIAr9lQH9jgEgFv2OAUEI/YwBIBb9jgH9ZiIW/VsAAAAgKiAiaiAW/VsAAAEgLCIlISIgJUEQaiIsIARMDQALCwJAICUgBE4NACAgICNqITkgHSAlQQJ0aiEiIB4gJUEBdiIsaiEtIB8gLGohJgNAICAgJWoiOiAIKAIAICItAABsIBooAgAgIkEBaiIpLQAAbGogGCgCACAiQQJqIiotAABsakGAAWpBCHZBEGo6AAAgOSAlaiI7IAgoAgAgIiAkaiIsLQAAbCAaKAIAICxBAWoiKy0AAGxqIBgoAgAgLEECaiIjLQAAbGpBgAFqQQh2QRBqOgAAICVBAWoiKCAESEECdCEnAkAgKCAETg0AIDpBAWogCCgCACAiQQRqLQAAbCAaKAIAICJBBWotAABsaiAYKAIAICJBBmotAABsakGAAWpBCHZBEGo6AAAgO0EBaiAIKAIAICxBBGotAABsIBooAgAgLEEFai0AAGxqIBgoAgAgLEEGai0AAGxqQYABakEIdkEQajoAAAsgJiAIKAIMICItAAAgIiAnaiIoLQAAaiAsLQAAaiAsICdqIiwtAABqQQJqQQJ2IidsIA8oAgAgKS0AACAoQQFqLQAAaiArLQAAaiAsQQFqLQAAakECakECdiIpbGogDSgCACAqLQAAIChBAmotAABqICMtAABqICxBAmotAABqQQJqQQJ2IixsakGAAWpBCHZBgAFzOgAAIC0gCCgCGCAnbCALKAIAIClsaiAJKAIAICxsakGAAWpBCHZBgAFzOgAAICJBCGohIiAtQQFqIS0gJkEBaiEmICVBAmoiJSAESA0ACwsgHSATaiEdIB4gB2ohHiAfIAdqIR8gICAUaiEgICFBAmoiISAFSA0ACwsL";

// Factors of R, G and B in 1/256, limited range: ITU-R BT.601 and BT.709.
const FACTORS = {
  bt601: [[66, 129, 25], [-38, -74, 112], [112, -94, -18]],
  bt709: [[47, 157, 16], [-26, -86, 112], [112, -102, -10]],
};

const START = 65536; // behind the program's own memory; bytes

let compiled;

// Converter holds one picture; each stream has its own.
export class Converter {
  // make gives none where a content security policy forbids WebAssembly.
  static async make() {
    try {
      compiled ||= WebAssembly.compile(Uint8Array.from(atob(WASM), (c) => c.charCodeAt(0)));
      return new Converter(await WebAssembly.instantiate(await compiled));
    } catch {
      return undefined;
    }
  }

  constructor({ exports }) {
    this.exports = exports;
  }

  // source is where the pixels of a picture go that will be the I420 picture f: rows of
  // 4 * f.width bytes. It is gone with the next call.
  source(f) {
    const { memory } = this.exports, size = 4 * f.width * f.height;
    const missing = START + size + f.size - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return new Uint8Array(memory.buffer, START, size);
  }

  // convert gives the bytes of f from the pixels at source; order is "RGB" or "BGR".
  convert(f, order) {
    const { memory, i420 } = this.exports, to = START + 4 * f.width * f.height, factors = START - 64;
    const k = FACTORS[f.colorimetry];
    new Int32Array(memory.buffer, factors, 9).set((order === "RGB" ? k : k.map((c) => c.slice().reverse())).flat());
    i420(START, ...f.offsets.map((o) => to + o), f.width, f.height, f.strides[0], f.strides[1], factors);
    return new Uint8Array(memory.buffer, to, f.size);
  }
}
