/** Names are GStreamer's. Rows are rounded up to 4 bytes, planes follow each other. */
export type PictureFormat = "I420" | "NV12" | "BGRA" | "RGBA" | "BGRx" | "RGBx";
export type SampleFormat = "F32LE" | "S16LE";

export interface VideoOptions {
  /** The stream's name in the graph: `.video` without one. */
  name?: string;
  format: PictureFormat;
  /** Pixels. */
  width: number;
  height: number;
  /** Frames a second; without it, or 0, the rate varies. */
  frameRate?: number;
  /** "bt601", "bt709", "bt2020" or "sRGB"; by default what GStreamer takes for the size. */
  colorimetry?: string;
  chromaSite?: "mpeg2" | "jpeg";
  /** Bytes of the largest frame the stream will carry, if it is to grow. */
  maxBytes?: number;
}

export interface AudioOptions {
  name?: string;
  /** Interleaved; "F32LE" by default. */
  format?: SampleFormat;
  /** Sample frames a second; 48000 by default. */
  rate?: number;
  /** 2 by default. */
  channels?: number;
  /** Bytes of the largest packet; by default a fifth of a second. */
  maxBytes?: number;
}

export interface SessionOptions {
  /** What `page = "…"` of a browsersrc selects. At most 63 characters. */
  name?: string;
  /** What the source's property token asks for. At most 63 characters. */
  token?: string;
  /**
   * "file": shared memory, with mpipe on the same machine. "websocket": a wssrc at
   * `url`. "auto", the default: files, and the WebSocket where they fail or nobody
   * takes the page within two seconds, if there is a `url`.
   */
  transport?: "auto" | "file" | "websocket";
  /** ws:// or wss:// address of a wssrc. */
  url?: string;
  /** How long to wait for mpipe, in ms; 30000 by default. */
  patience?: number;
}

export interface WriterOptions extends SessionOptions {
  video?: VideoOptions;
  /** `true` is 48 kHz stereo F32LE. */
  audio?: AudioOptions | true;
  /** Further streams by name; those with a width are video. */
  streams?: Record<string, VideoOptions | AudioOptions>;
}

export interface WriteOptions {
  /** When the content was captured: performance.now() of the caller, ms. Now, if left out. */
  timestamp?: number;
  /** ms. */
  duration?: number;
  /** Of this frame, where it differs from the stream's: a change of size or layout. */
  format?: PictureFormat;
  width?: number;
  height?: number;
  /**
   * What to do when there is no room: nothing, the frame is dropped and counted; or
   * wait, at most so many ms (true: 30 s). For pages that render rather than play.
   */
  wait?: boolean | number;
  /** Hands an ArrayBuffer over instead of copying it; it is detached afterwards. */
  transfer?: boolean;
}

/** How full the memory between the page and the encoder is. */
export interface Fill {
  /** Bytes. */
  used: number;
  capacity: number;
  /** Frames that encoders hold. */
  held: number;
}

export interface StreamStats {
  name: string;
  written: number;
  /** Frames that found no room. */
  full: number;
  /** Frames left out to keep pace. */
  policy: number;
}

export type SessionState = "opening" | "live" | "stopping" | "closed" | "invalid" | "gone" | "ended";

/**
 * One session with mpipe. Events: `state` (detail: {state, reason}), when mpipe stops
 * or refuses; `error` (detail: text); `track` (detail: number of the stream), when a
 * captured track has ended.
 */
export interface Writer extends EventTarget {
  readonly state: SessionState;
  readonly transport: "file" | "websocket";
  /** ms by which this page's clock may differ from mpipe's CLOCK_MONOTONIC. */
  readonly clockError: number;
  /**
   * Writes one frame of a stream: the bytes of a picture or of sound, or a VideoFrame,
   * which is closed. Resolves to false when it was dropped, or the session is over.
   */
  write(stream: string, data: ArrayBuffer | SharedArrayBuffer | ArrayBufferView | VideoFrame, options?: WriteOptions): Promise<boolean>;
  /** Writes what an audio node plays, through an AudioWorklet, into an audio stream. */
  listen(node: AudioNode, stream?: string): Promise<void>;
  /**
   * Goes on in a captured stream with another track of its kind: of a participant that
   * came back, or another camera. The track before is no longer read.
   */
  replaceTrack(stream: string, track: MediaStreamTrack): void;
  /** As of the stream's latest write: what a page paces itself by. */
  fill(stream: string): Fill;
  stats(): Promise<StreamStats[]>;
  /** Ends all streams in good order; the recording is then complete. */
  close(): Promise<StreamStats[]>;
}

export interface CaptureOptions extends SessionOptions {
  /** Frames a second, if the track does not say. */
  frameRate?: number;
  /** Of the largest picture that will come; 1920 * 1080 by default. */
  maxPixels?: number;
  /** Leave every second frame out while the memory is more than three quarters full; true by default. */
  pace?: boolean;
  /**
   * Hand RGB pictures, as of a canvas, over as I420, which encoders want anyway; true by
   * default. Where a content security policy forbids WebAssembly they stay as they are.
   */
  convert?: boolean;
  /** Of the sound; 2 by default. */
  channels?: number;
}

/** Opens a session for frames that the page draws itself. Rejects with an MpipeError that says what is missing. */
export function writer(options: WriterOptions): Promise<Writer>;

/**
 * Records a MediaStream: a canvas, a video element, a captured tab, a participant.
 * Its streams are `video` and `audio`. Several MediaStreams by name, `{ alice: … }`,
 * give `video_alice` and `audio_alice`.
 */
export function capture(stream: MediaStream | Record<string, MediaStream>, options?: CaptureOptions): Promise<Writer>;

export class MpipeError extends Error {
  /** What is wrong, for programs. */
  readonly code:
    | "insecure" | "unsupported" | "no-worker" | "files" | "nobody" | "refused" | "closed" | "clock"
    | "websocket" | "worker" | "worklet" | "autoplay" | "formats";
}
