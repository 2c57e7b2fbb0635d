import Glibc
import Bytes

/// One event, one line, `key=value`, to standard error (journald adds time and unit).
///
/// Never a password, never message text or a subject; names that strangers sent only quoted and
/// escaped (`quotedForLog`).
package enum Log {
    package enum Level: Int, Comparable, Sendable, CaseIterable {
        case error, warning, info, debug

        package static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

        package var name: String {
            switch self {
            case .error: "error"
            case .warning: "warning"
            case .info: "info"
            case .debug: "debug"
            }
        }

        package init?(name: String) {
            guard let level = Level.allCases.first(where: { $0.name == name }) else { return nil }
            self = level
        }
    }

    /// Lines above this level are dropped. Set once at start, before any thread.
    nonisolated(unsafe) package static var level: Level = .info

    package static func error(_ line: @autoclosure () -> String) { write(.error, line) }
    package static func warning(_ line: @autoclosure () -> String) { write(.warning, line) }
    package static func info(_ line: @autoclosure () -> String) { write(.info, line) }
    package static func debug(_ line: @autoclosure () -> String) { write(.debug, line) }

    private static func write(_ level: Level, _ line: () -> String) {
        guard unsafe level <= self.level else { return }
        var text = level == .info ? "" : "level=\(level.name) "
        text += line()
        text += "\n"
        // One write a line, so that lines of several processes do not mix.
        var bytes = Array(text.utf8)
        for index in bytes.indices.dropLast() where bytes[index] == .lf { bytes[index] = .space }
        _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
