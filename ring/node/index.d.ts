// Types of the ring's producer for Node.js. Stamps are nanoseconds of
// CLOCK_MONOTONIC, the clock of process.hrtime.bigint().
//
// SPDX-License-Identifier: Apache-2.0

export const VIDEO: 1
export const AUDIO: 2
/** Flags of a frame. */
export const KEY: 1
export const DISCONT: 2
export const CORRUPT: 4
/** wait: no room, no frame. */
export const DROP: 0
/** wait: for ever. It blocks the thread and its event loop. */
export const BLOCK: number

export interface StreamSpec {
  /** At most 47 letters, digits, '.', '_' and '-'. */
  name: string
  kind: 'video' | 'audio' | 1 | 2
  /** Bytes of the largest frame it will ever carry. */
  maxFrame: number
}

export interface VideoFormat {
  /** GStreamer's name: 'I420', 'NV12', 'BGRA', ... */
  fourcc: string
  width: number
  height: number
  /** Bytes, one for each plane. */
  strides: number[]
  offsets: number[]
  /** Bytes of a frame. */
  size: number
  /** A fraction; [0, 1] when it varies, which is the default. */
  fps?: [number, number]
  colorimetry?: string
  chromaSite?: string
}

export interface AudioFormat {
  /** GStreamer's name of interleaved samples: 'S16LE', 'F32LE', ... */
  sample: string
  rate: number
  channels: number
  /** GStreamer's channel mask; 0 for the default. */
  mask?: number | bigint
}

export interface Stamp {
  /** Default: now(). */
  pts?: bigint | number
  /** Default: 0, unknown. */
  duration?: bigint | number
  flags?: number
}

export interface Policy {
  /** DROP (default), BLOCK, or milliseconds. */
  wait?: number
}

export type Binary = ArrayBufferView | ArrayBuffer | SharedArrayBuffer

/** What calls throw and attach rejects with. */
export interface RingError extends Error {
  code: 'MPIPE_STOPPED' | 'MPIPE_GONE' | 'MPIPE_ENDED' | 'MPIPE_REFUSED' | 'MPIPE_TIMEOUT' | 'MPIPE_WRONG' | 'MPIPE_SYSTEM'
}

/** Claimed space. Finish every slot: one that is forgotten fills the ring. */
export class Slot {
  /** The ring itself: write all of it. Detached (of length 0) once the slot is finished. */
  readonly data: Uint8Array
  commit (stamp?: Stamp): void
  abort (): void
}

export interface Advice {
  fps: [number, number] | null
  heldMs: number
  holder: string
}

/** Belongs to the thread that attached it. */
export class Producer {
  private constructor ()
  /** Attachments so far. */
  readonly epochs: number
  /** Frames that consumers before this one did not use up. */
  readonly lost: number
  /** Publishes a format and gives the id that its frames carry; the same format gives the same id. */
  setVideo (stream: number, format: VideoFormat): number
  setAudio (stream: number, format: AudioFormat): number
  /** One copy into the ring; false when there was no room, which is counted. */
  write (stream: number, format: number, data: Binary, options?: Stamp & Policy): boolean
  /** Space to draw into, or null when there was no room, which is counted. */
  claim (stream: number, format: number, size: number, options?: Policy): Slot | null
  /** Counts a frame that the program left out of its own will. */
  dropByPolicy (stream: number): void
  /** Bytes in use and in all, and the frames the consumer holds, of VIDEO or AUDIO. */
  fill (kind: 1 | 2): { used: number, capacity: number, held: number }
  /**
   * What the consumer has to say to a producer that could do with less: the frame rate it
   * can take (null: any), how long it has held its oldest frame, and the edge of the graph
   * that holds frames up ('': none).
   */
  advice (): Advice
  /** Ends a stream behind what was committed; false when there was no free slot in time. */
  end (stream: number, options?: Policy): boolean
  /** Aborts open slots, ends all streams and detaches. */
  close (): void
  /**
   * Leaves a consumer that is gone, has stopped or has replaced its ring (MPIPE_GONE,
   * MPIPE_STOPPED) for the next one at the same address. Format ids stay valid; open slots
   * are aborted, streams that were ended are open again. Gives how many frames the consumer
   * before had not used up. When it rejects with MPIPE_TIMEOUT, call it again; until it is
   * through, other calls throw MPIPE_GONE.
   */
  reattach (options?: { timeoutMs?: number }): Promise<number>
}

/**
 * Attaches at NAME (/dev/shm/NAME), a path that begins with '/' or '.', unix:PATH, or
 * fd:N, a connected SOCK_SEQPACKET socket. Waits in a pool thread until a consumer takes
 * the producer, 10 s unless timeoutMs says otherwise (Infinity: for ever).
 */
export function attach (address: string, streams: StreamSpec[], options?: { name?: string, timeoutMs?: number }): Promise<Producer>

/** GStreamer's own layout of I420, NV12 and the packed fourccs of 4 bytes a pixel. */
export function videoLayout (fourcc: string, width: number, height: number, fps?: [number, number]): VideoFormat

/**
 * Whether frame n of a stream of fps frames a second is one to draw, if no more than the
 * advised rate are. Those that are not, count by dropByPolicy.
 */
export function keep (advice: Advice, n: number, fps: number): boolean

/** CLOCK_MONOTONIC in ns. */
export function now (): bigint
