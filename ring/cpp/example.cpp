/* example.cpp: a producer that draws a moving picture and plays a tone.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 *   c++ -std=c++17 -O2 -pthread -Iring/c -o example ring/cpp/example.cpp
 *   ./example --ring demo --size 1280x720 --fps 30 --frames 300
 *
 * One thread draws each picture straight into the ring, another plays 20 ms
 * packets of sound; with --second another thread adds a picture of another size.
 * --hash prints the FNV-1a hash of every frame's bytes as it was committed; --fps
 * 0 goes as fast as the consumer takes the frames. With --adapt it draws no more
 * pictures than the consumer says it can take; with --reattach it goes on when the
 * consumer starts again.
 */
#include "mpipe_ring.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <iostream>
#include <thread>

namespace {

constexpr int rate = 48000, packet = rate / 50, channels = 2;

struct Options {
	std::string ring;
	long frames = 300;
	int fps = 30;
	int64_t wait = mpipe::Block;
	std::vector<std::pair<uint32_t, uint32_t>> sizes{{640, 360}};
	bool hash = false, adapt = false, reattach = false;
};

void tell(const Options &o, const std::string &name, long n, const mpipe::Slot &s)
{
	if (!o.hash) return;
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < s.size(); i++) h = (h ^ s.data()[i]) * UINT64_C(0x100000001b3);
	std::printf("%s %ld %016llx\n", name.c_str(), n, static_cast<unsigned long long>(h));
}

/* Sleeps until the stamp, on the clock of stamps. */
void sleep_until(int64_t ns)
{
	int64_t left = ns - mpr_now();
	if (left > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(left));
}

/* A gradient that drifts, and a white box that runs across it. Row padding is
 * written too: a ring does not zero anything. */
void draw(uint8_t *at, const mpr_video &v, long n)
{
	uint32_t moved = static_cast<uint32_t>(n), box = v.height / 4, x0 = moved * 8 % v.width, y0 = (v.height - box) / 2;
	std::memset(at, 0, v.size);
	for (uint32_t p = 0; p < v.planes; p++) {
		uint32_t rows = p == 0 ? v.height : (v.height + 1) / 2;
		for (uint32_t y = 0; y < rows; y++) {
			uint8_t *row = at + v.offsets[p] + static_cast<size_t>(y) * v.strides[p];
			std::memset(row, static_cast<int>(p == 0 ? 32 + (y + moved) % 160 : 64 + (y + moved * p) % 128), v.strides[p]);
			if (p == 0 && y >= y0 && y < y0 + box) std::memset(row + x0, 235, std::min(box, v.width - x0));
		}
	}
}

void pictures(const Options &o, mpipe::Producer &p, int stream, const mpr_video &v, int64_t start)
{
	int64_t step = o.fps > 0 ? 1000000000 / o.fps : 0;
	mpipe::Writer w(p);
	uint32_t format = p.set_video(stream, v);
	for (long n = 0; n < o.frames; n++) {
		if (step) sleep_until(start + n * step);
		mpipe::Advice advice = p.advice();
		if (o.adapt && !mpr_keep(&advice, static_cast<uint64_t>(n), static_cast<uint32_t>(o.fps))) {
			w.drop_by_policy(stream);
			continue;
		}
		mpipe::Slot s = w.claim(stream, format, v.size, o.wait);
		if (!s) continue; /* counted as dropped: on with the next one */
		draw(s.data(), v, n);
		tell(o, p.stream_name(stream), n, s);
		s.commit(step ? start + n * step : mpr_now(), step, MPR_KEY);
	}
	p.end(stream);
}

/* 440 Hz by a parabola for each half wave. */
int16_t tone(long sample)
{
	long phase = sample * 440 % rate * 65536 / rate, half = phase & 32767, v = half * (32768 - half) / 32768;
	return static_cast<int16_t>(phase < 32768 ? v : -v);
}

void sound(const Options &o, mpipe::Producer &p, int stream, int64_t start)
{
	const int64_t step = 20000000;
	mpr_audio a{"S16LE", rate, channels, 0};
	mpipe::Writer w(p);
	uint32_t format = p.set_audio(stream, a);
	for (long n = 0; n < (o.fps > 0 ? o.frames * 50 / o.fps : o.frames); n++) {
		if (o.fps > 0) sleep_until(start + n * step);
		mpipe::Slot s = w.claim(stream, format, packet * channels * 2, o.wait);
		if (!s) continue;
		for (long i = 0; i < packet; i++) {
			int16_t both[channels] = {tone(n * packet + i), tone(n * packet + i)};
			std::memcpy(s.data() + i * 4, both, sizeof both);
		}
		tell(o, p.stream_name(stream), n, s);
		s.commit(start + n * step, step);
	}
	p.end(stream);
}

Options parse(int argc, char **argv)
{
	Options o;
	auto size = [](const std::string &text) {
		size_t x = text.find('x');
		return std::make_pair(static_cast<uint32_t>(std::stoul(text)), static_cast<uint32_t>(std::stoul(text.substr(x + 1))));
	};
	for (int i = 1; i < argc; i++) {
		std::string name = argv[i];
		if (name == "--hash" || name == "--adapt" || name == "--reattach") {
			(name == "--hash" ? o.hash : name == "--adapt" ? o.adapt : o.reattach) = true;
			continue;
		}
		if (++i == argc) throw std::invalid_argument(name + " needs a value");
		std::string value = argv[i];
		if (name == "--ring")
			o.ring = value;
		else if (name == "--frames")
			o.frames = std::stol(value);
		else if (name == "--fps")
			o.fps = std::stoi(value);
		else if (name == "--policy")
			o.wait = value == "drop" ? mpipe::Drop : value == "block" ? mpipe::Block : std::stol(value) * 1000000;
		else if (name == "--size")
			o.sizes[0] = size(value);
		else if (name == "--second")
			o.sizes.push_back(size(value));
		else
			throw std::invalid_argument("unknown: " + name);
	}
	if (o.ring.empty()) throw std::invalid_argument("--ring is missing: NAME for /dev/shm/NAME, a path, unix:/path.sock or fd:N");
	return o;
}

int feed(const Options &o)
{
	const char *const names[] = {"video", "second"};
	std::vector<mpr_video> layouts;
	std::vector<mpipe::Stream> streams;
	for (size_t i = 0; i < o.sizes.size() && i < 2; i++) {
		layouts.push_back(mpipe::video_layout("I420", o.sizes[i].first, o.sizes[i].second, static_cast<uint32_t>(o.fps)));
		streams.push_back({names[i], MPR_VIDEO, layouts[i].size});
	}
	streams.push_back({"audio", MPR_AUDIO, packet * channels * 2});

	mpipe::Producer p(o.ring, streams, "example.cpp", 10000);
	p.set_reattach(o.reattach);
	std::vector<std::string> failed(streams.size());
	std::vector<std::thread> threads;
	int64_t start = mpr_now();
	auto run = [&](size_t i, const std::function<void(int)> &job) {
		threads.emplace_back([&failed, i, job] {
			try {
				job(static_cast<int>(i));
			} catch (const mpipe::Error &e) {
				if (e.code() != MPR_STOPPED) failed[i] = e.what(); /* a consumer that stops is no failure of ours */
			}
		});
	};
	for (size_t i = 0; i < layouts.size(); i++)
		run(i, [&, i](int stream) { pictures(o, p, stream, layouts[i], start); });
	run(layouts.size(), [&](int stream) { sound(o, p, stream, start); });
	int code = 0;
	for (size_t i = 0; i < threads.size(); i++) {
		threads[i].join();
		if (failed[i].empty()) continue;
		std::cerr << "example: stream " << streams[i].name << ": " << failed[i] << "\n";
		code = 1;
	}
	return code;
}

} // namespace

int main(int argc, char **argv)
{
	try {
		return feed(parse(argc, argv));
	} catch (const std::exception &e) {
		std::cerr << "example: " << e.what() << "\n";
		return 1;
	}
}
