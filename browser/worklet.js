// An AudioWorkletProcessor that sends what flows through it to a port, in packets
// of 10 ms, and is silent itself.

class MpipeTap extends AudioWorkletProcessor {
  constructor({ processorOptions: { channels } }) {
    super();
    this.channels = channels;
    this.frames = Math.round(sampleRate / 100);
    this.port.onmessage = ({ data }) => {
      this.out = data.port;
    };
    this.fill = 0;
  }

  process([input]) {
    if (!this.out) return true;
    const n = input.length ? input[0].length : 128;
    for (let i = 0; i < n; i++) {
      if (this.fill === 0) {
        this.at = currentTime + i / sampleRate;
        this.packet = new Float32Array(this.frames * this.channels);
      }
      for (let c = 0; c < this.channels; c++) {
        const from = input[Math.min(c, input.length - 1)]; // mono into both; nothing connected is silence
        this.packet[this.fill * this.channels + c] = from ? from[i] : 0;
      }
      if (++this.fill === this.frames) {
        this.fill = 0;
        const samples = this.packet.buffer;
        this.out.postMessage({ samples, at: this.at, rate: sampleRate, channels: this.channels }, [samples]);
      }
    }
    return true;
  }
}

registerProcessor("mpipe-tap", MpipeTap);
