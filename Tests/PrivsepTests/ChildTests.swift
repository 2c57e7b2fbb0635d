import Glibc
import Testing

@testable import Posix
@testable import Privsep

@Suite("children")
struct ChildTests {
    /// Runs a shell with its output on a pipe.
    @EventLoop
    private func shell(
        _ script: String,
        identity: ChildIdentity = .unchanged
    ) async throws -> (end: ChildEnd, output: String) {
        var pair = try makeSocketPair(sequencedPackets: false)
        let theirs = pair.takeSecond()
        let ours = try SocketStream(pair.takeFirst())
        _ = fcntl(theirs.raw, F_SETFL, 0)
        let child = try Child(
            path: Array("/bin/sh".utf8),
            arguments: ["sh", "-c", script],
            environment: ["PATH=/usr/bin:/bin", "GREETING=hello"],
            descriptors: [theirs.raw, theirs.raw, theirs.raw],
            identity: identity
        )
        try theirs.close()
        var output: [UInt8] = []
        while (try? ours.read(into: &output, max: 4_096)) != nil {
            _ = await ours.waitForInput(until: .after(seconds: 10))
        }
        return (await child.waitForEnd(), String(decoding: output, as: UTF8.self))
    }

    @Test("a child has its descriptors and environment, and nothing else of ours")
    func clean() async throws {
        try await EventLoop.test {
            // Something of ours that must not be there.
            let leaked = dup(1)
            defer { close(leaked) }
            let result = try await shell("echo $GREETING $HOME; pwd; umask; ls /proc/$$/fd")
            #expect(result.end == ChildEnd(code: 0, wasSignalled: false))
            #expect(result.output.hasPrefix("hello\n/\n0077\n0\n1\n2\n"))
            #expect(!result.output.contains("\(leaked)\n") || leaked <= 10)
        }
    }

    @Test("the ends of children are told apart")
    func ends() async throws {
        try await EventLoop.test {
            let exited = try await shell("exit 7").end
            #expect(exited == ChildEnd(code: 7, wasSignalled: false))
            let killed = try await shell("kill -9 $$").end
            #expect(killed == ChildEnd(code: 9, wasSignalled: true))
        }
    }

    @Test("what cannot be executed is an error here, and no child is left")
    func missing() async throws {
        try await EventLoop.test {
            _ = #expect(throws: SystemError.self) {
                _ = try Child(
                    path: Array("/nonexistent".utf8),
                    arguments: ["x"],
                    environment: [],
                    descriptors: [0, 1, 2]
                )
            }
        }
    }

    @Test(
        "a child becomes another user, with these groups and no way back",
        .enabled(if: geteuid() == 0)
    )
    func identity() async throws {
        try await EventLoop.test {
            let result = try await shell(
                "id -u; id -g; id -G; grep -E '^(Uid|Gid|Groups)' /proc/self/status | tr -s '\\t' ' '",
                identity: .user(uid: 4_242, gid: 4_243, groups: [4_243, 4_244])
            )
            #expect(
                result.output == """
                    4242
                    4243
                    4243 4244
                    Uid: 4242 4242 4242 4242
                    Gid: 4243 4243 4243 4243
                    Groups: 4243 4244\u{20}

                    """
            )
        }
    }
}
