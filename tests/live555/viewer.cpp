// A viewer on live555, the library by which VLC speaks RTSP. It asks in VLC's order (OPTIONS, DESCRIBE, a SETUP for each
// track, one PLAY, GET_PARAMETER to stay, TEARDOWN), writes the H.264 picture as a byte stream and says what it saw.
//
// Usage: viewer URL OUTPUT.h264 SECONDS udp|tcp [USER PASSWORD]
//
// Ends SECONDS after PLAY was answered, or when every track has said goodbye; a refused request ends it at once.
// Standard output: `video=N audio=N goodbyes=N timeout=N`. Exit code: 0; 1 refused or broken; 2 wrong arguments.

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <BasicUsageEnvironment.hh>
#include <H264VideoRTPSource.hh>
#include <liveMedia.hh>

namespace {

constexpr unsigned kFrameMax = 1 << 20;       // bytes
constexpr unsigned kPatience = 15;            // seconds until PLAY must be answered
constexpr unsigned kSecond = 1000000;         // microseconds
constexpr char const* kAgent = "LibVLC/3.0.21 (LIVE555 Streaming Media v2024.06.26)";

struct Track {
    MediaSubsession* subsession;
    bool is_picture;
    bool is_over = false;
    unsigned long frames = 0;
    std::vector<unsigned char> buffer = std::vector<unsigned char>(kFrameMax);
};

struct Viewer {
    BasicTaskScheduler* scheduler;
    UsageEnvironment* env;
    RTSPClient* client;
    std::unique_ptr<Authenticator> authenticator;
    MediaSession* session = nullptr;
    std::vector<std::unique_ptr<Track>> tracks;
    std::ofstream output;
    unsigned seconds;
    bool over_tcp;
    size_t next_setup = 0;
    unsigned goodbyes = 0;
    bool stays_by_parameter = false;
    TaskToken deadline = nullptr;
    TaskToken keep_alive = nullptr;
    char volatile done = 0;
    int code = 0;
};

Viewer viewer;

void end(int code) {
    viewer.code = code;
    viewer.done = 1;
}

void fail(char const* request, int code, char const* text) {
    std::cerr << request << ": " << code << " " << (text ? text : viewer.env->getResultMsg()) << std::endl;
    end(1);
}

void out_of_patience(void*) {
    std::cerr << "no answer to PLAY within " << kPatience << " s" << std::endl;
    end(1);
}

void enough(void*) { end(0); }

void write_unit(unsigned char const* unit, size_t size) {
    static char const start[] = {0, 0, 0, 1};
    viewer.output.write(start, sizeof start);
    viewer.output.write(reinterpret_cast<char const*>(unit), static_cast<std::streamsize>(size));
}

void read_on(Track& track);

void on_frame(void* data, unsigned size, unsigned truncated, timeval, unsigned) {
    Track& track = *static_cast<Track*>(data);
    if (truncated > 0) return fail("a frame is too large", static_cast<int>(size + truncated), "bytes");
    if (track.is_picture) write_unit(track.buffer.data(), size);
    track.frames += 1;
    read_on(track);
}

void on_end(void* data) {
    Track& track = *static_cast<Track*>(data);
    if (track.is_over) return;
    track.is_over = true;
    viewer.goodbyes += 1;
    if (viewer.goodbyes == viewer.tracks.size()) end(0);
}

void read_on(Track& track) {
    FramedSource* source = track.subsession->readSource();
    source->getNextFrame(track.buffer.data(), kFrameMax, on_frame, &track, on_end, &track);
}

void after_keep_alive(RTSPClient*, int code, char* text) {
    if (code != 0) fail("to stay", code, text);
    delete[] text;
}

void stay(void*) {
    if (viewer.stays_by_parameter) {
        viewer.client->sendGetParameterCommand(*viewer.session, after_keep_alive, nullptr);
    } else {
        viewer.client->sendOptionsCommand(after_keep_alive);
    }
    viewer.keep_alive = viewer.scheduler->scheduleDelayedTask(kSecond, stay, nullptr);
}

void after_play(RTSPClient*, int code, char* text) {
    if (code != 0) return fail("PLAY", code, text);
    delete[] text;
    viewer.scheduler->rescheduleDelayedTask(viewer.deadline, int64_t{viewer.seconds} * kSecond, enough, nullptr);
    viewer.keep_alive = viewer.scheduler->scheduleDelayedTask(kSecond, stay, nullptr);
    for (auto& track : viewer.tracks) {
        if (track->subsession->rtcpInstance()) track->subsession->rtcpInstance()->setByeHandler(on_end, track.get());
        read_on(*track);
    }
}

void set_up_next();

void after_setup(RTSPClient*, int code, char* text) {
    if (code == 461 && !viewer.over_tcp) {
        delete[] text;
        viewer.over_tcp = true;               // as VLC: the other transport, once
        return set_up_next();
    }
    if (code != 0) return fail("SETUP", code, text);
    delete[] text;
    viewer.next_setup += 1;
    set_up_next();
}

void set_up_next() {
    if (viewer.next_setup < viewer.tracks.size()) {
        MediaSubsession& next = *viewer.tracks[viewer.next_setup]->subsession;
        viewer.client->sendSetupCommand(next, after_setup, False, viewer.over_tcp);
    } else {
        viewer.client->sendPlayCommand(*viewer.session, after_play);
    }
}

void write_parameter_sets(MediaSubsession& subsession) {
    unsigned count = 0;
    SPropRecord* sets = parseSPropParameterSets(subsession.fmtp_spropparametersets(), count);
    for (unsigned i = 0; i < count; ++i) write_unit(sets[i].sPropBytes, sets[i].sPropLength);
    delete[] sets;
}

void after_describe(RTSPClient*, int code, char* text) {
    if (code != 0) return fail("DESCRIBE", code, text);
    viewer.session = MediaSession::createNew(*viewer.env, text);
    delete[] text;
    if (!viewer.session) return fail("the description", 0, nullptr);
    MediaSubsessionIterator each(*viewer.session);
    while (MediaSubsession* subsession = each.next()) {
        if (!subsession->initiate()) return fail("a track", 0, nullptr);
        auto track = std::make_unique<Track>();
        track->subsession = subsession;
        track->is_picture = std::strcmp(subsession->codecName(), "H264") == 0;
        if (track->is_picture) write_parameter_sets(*subsession);
        viewer.tracks.push_back(std::move(track));
    }
    if (viewer.tracks.empty()) return fail("the description", 0, "no track");
    set_up_next();
}

void after_options(RTSPClient*, int code, char* text) {
    if (code != 0) return fail("OPTIONS", code, text);
    viewer.stays_by_parameter = text && std::strstr(text, "GET_PARAMETER");
    delete[] text;
    viewer.client->sendDescribeCommand(after_describe, viewer.authenticator.get());
}

/// TEARDOWN is answered, or the server has closed first.
void after_teardown(RTSPClient*, int, char* text) {
    delete[] text;
    viewer.done = 1;
}

void hang_up() {
    viewer.scheduler->unscheduleDelayedTask(viewer.keep_alive);
    viewer.scheduler->unscheduleDelayedTask(viewer.deadline);
    for (auto& track : viewer.tracks) {
        if (track->subsession->readSource()) track->subsession->readSource()->stopGettingFrames();
    }
    if (!viewer.session) return;
    viewer.done = 0;
    viewer.client->sendTeardownCommand(*viewer.session, after_teardown);
    viewer.scheduler->scheduleDelayedTask(2 * int64_t{kSecond}, [](void*) { viewer.done = 1; }, nullptr);
    viewer.env->taskScheduler().doEventLoop(&viewer.done);
}

}  // namespace

int main(int count, char** values) {
    if (count != 5 && count != 7) {
        std::cerr << "usage: viewer URL OUTPUT.h264 SECONDS udp|tcp [USER PASSWORD]" << std::endl;
        return 2;
    }
    viewer.scheduler = BasicTaskScheduler::createNew();
    viewer.env = BasicUsageEnvironment::createNew(*viewer.scheduler);
    viewer.output.open(values[2], std::ios::binary);
    viewer.seconds = static_cast<unsigned>(std::strtoul(values[3], nullptr, 10));
    viewer.over_tcp = std::strcmp(values[4], "tcp") == 0;
    if (count == 7) viewer.authenticator = std::make_unique<Authenticator>(values[5], values[6]);
    viewer.client = RTSPClient::createNew(*viewer.env, values[1]);
    viewer.client->setUserAgentString(kAgent);
    viewer.deadline = viewer.scheduler->scheduleDelayedTask(kPatience * int64_t{kSecond}, out_of_patience, nullptr);
    viewer.client->sendOptionsCommand(after_options, viewer.authenticator.get());
    viewer.env->taskScheduler().doEventLoop(&viewer.done);

    unsigned const timeout = viewer.client->sessionTimeoutParameter();
    hang_up();
    unsigned long video = 0, audio = 0;
    for (auto const& track : viewer.tracks) (track->is_picture ? video : audio) += track->frames;
    std::cout << "video=" << video << " audio=" << audio << " goodbyes=" << viewer.goodbyes << " timeout=" << timeout
              << std::endl;
    return viewer.code;
}
