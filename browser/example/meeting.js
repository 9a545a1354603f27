// A meeting as a bot in it sees one: four participants, each over a WebRTC connection
// of its own, all in this page. What arrives of each is handed to mpipe as a stream of
// its own, for graphs/meeting.toml. Parameters in the query: seconds (10; 0 does not
// end), w, h, fps of each picture.

import { paint } from "./pattern.js";

const { capture } = globalThis.mpipe || (await import("/mpipe/mpipe.js"));
const { seconds = 10, w = 640, h = 360, fps = 15 } = Object.fromEntries([...new URLSearchParams(location.search)].map(([k, v]) => [k, +v]));

// A participant is known by the numbers in its frames, which begin at first, and by
// its tone.
const people = {
  ann: { first: 10000, tone: 330 },
  bob: { first: 20000, tone: 550 },
  cai: { first: 30000, tone: 880 },
  dee: { first: 40000, tone: 1320 },
};

const FOOT = 60; // rows below the pattern, for the name that the graph writes there

const audio = new AudioContext({ sampleRate: 48000 });

// camera is what a participant sends: a counter on a canvas, and a tone.
function camera(person) {
  const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
  const ctx = canvas.getContext("2d"), stream = canvas.captureStream(0), [track] = stream.getVideoTracks();
  track.contentHint = "detail"; // a lower rate, not a smaller picture, when there is too little of the processor
  person.n ??= person.first;
  const timer = setInterval(() => {
    paint(ctx, person.n++, w, h - FOOT, fps);
    track.requestFrame();
  }, 1000 / fps);
  const to = new MediaStreamAudioDestinationNode(audio);
  const tone = new OscillatorNode(audio, { frequency: person.tone });
  tone.connect(new GainNode(audio, { gain: 0.15 })).connect(to);
  tone.start();
  stream.addTrack(to.stream.getAudioTracks()[0]);
  return { stream, stop: () => { clearInterval(timer); tone.stop(); stream.getTracks().forEach((t) => t.stop()); } };
}

// join connects a participant and gives what arrives of it.
async function join(person) {
  const from = new RTCPeerConnection(), to = new RTCPeerConnection();
  from.onicecandidate = (e) => to.addIceCandidate(e.candidate);
  to.onicecandidate = (e) => from.addIceCandidate(e.candidate);
  const arrived = new MediaStream();
  const both = new Promise((done) => { to.ontrack = ({ track }) => { arrived.addTrack(track); if (arrived.getTracks().length === 2) done(); }; });
  const sent = camera(person);
  for (const track of sent.stream.getTracks()) from.addTrack(track, sent.stream);
  await from.setLocalDescription();
  await to.setRemoteDescription(from.localDescription);
  await to.setLocalDescription();
  await from.setRemoteDescription(to.localDescription);
  await both;
  // As a meeting shows it. Chromium decodes the sound only of what an element plays.
  const tile = document.body.appendChild(Object.assign(document.createElement("video"), { srcObject: arrived, muted: true }));
  await tile.play();
  person.leave = () => { from.close(); to.close(); sent.stop(); tile.remove(); };
  return arrived;
}

const out = (globalThis.result = { state: "opening", people });

const streams = {};
await Promise.all(Object.keys(people).map(async (name) => { streams[name] = await join(people[name]); }));
const session = await capture(streams, { frameRate: fps, maxPixels: w * h });
session.addEventListener("error", (e) => { out.error = e.detail; });
out.state = "live";

// A participant that leaves keeps its streams, and goes on in them when it is back.
globalThis.leave = (name) => people[name].leave();
globalThis.comeBack = async (name) => {
  for (const track of (await join(people[name])).getTracks()) session.replaceTrack(`${track.kind}_${name}`, track);
};
globalThis.end = async () => {
  out.streams = await session.close();
  out.state = "done";
};
if (seconds > 0) setTimeout(end, seconds * 1000);
