/// What is wrong with a configuration file, and how to mend it.
package struct ConfigurationError: Error, Equatable, CustomStringConvertible {
    package let file: String
    /// 0 where it is about no line in particular.
    package let line: Int
    package let message: String

    package init(file: String, line: Int, message: String) {
        self.file = file
        self.line = line
        self.message = message
    }

    package var description: String {
        line == 0 ? "\(file): \(message)" : "\(file):\(line): \(message)"
    }
}

/// A configuration file as read: the settings, everything wrong with them, and where each stood.
package struct ConfigurationFile: Sendable {
    package private(set) var settings = Settings()
    package private(set) var errors: [ConfigurationError] = []
    /// The line of each setting that is there.
    package private(set) var lines: [String: Int] = [:]
    private let name: String

    /// Reads all of the text; every error is kept, and the settings that are right are applied.
    ///
    ///     line    = [ name "=" value ] [ comment ]
    ///     comment = "#" to the end of the line, at the start of a line or after a blank
    package init(parsing text: [UInt8], name: String) {
        self.name = name
        // What some editors put at the beginning of a file in UTF-8.
        let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
        let text = text.starts(with: mark) ? text[mark.count...] : text[...]
        let lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() { parse(line, number: index + 1) }
        checkTogether()
    }

    private mutating func parse(_ raw: ArraySlice<UInt8>, number: Int) {
        guard let text = String(validating: raw, as: UTF8.self), !raw.contains(0) else {
            report(number, "not UTF-8 text")
            return
        }
        let line = trimmed(withoutComment(text[...]))
        guard !line.isEmpty else { return }
        guard let equals = line.firstIndex(of: "=") else {
            report(number, "no \"=\"; write name = value")
            return
        }
        let name = String(trimmed(line[..<equals]))
        let value = String(trimmed(line[line.index(after: equals)...]))
        guard let setting = Setting.named(name) else {
            let hint = Self.nearest(to: name).map { "; did you mean \($0)?" } ?? ""
            report(number, "there is no setting \"\(name)\"\(hint)")
            return
        }
        if let earlier = lines[name] {
            report(number, "\(name) is already in line \(earlier); remove one of the two")
            return
        }
        lines[name] = number
        do throws(ValueError) {
            try setting.apply(&settings, value)
        } catch {
            report(number, "\(name): \(error.message)")
        }
    }

    private mutating func checkTogether() {
        let isReported = errors.contains {
            $0.line != 0 && ($0.line == lines["tls_certificate"] || $0.line == lines["tls_key"])
        }
        if settings.tlsCertificates.count != settings.tlsKeys.count, !isReported {
            let line = max(lines["tls_certificate"] ?? 0, lines["tls_key"] ?? 0)
            report(
                line,
                "tls_certificate names \(settings.tlsCertificates.count) files, tls_key"
                    + " \(settings.tlsKeys.count); each certificate has its key, in the same order"
            )
        }
        if settings.listenIMAP.isEmpty, settings.listenIMAPS.isEmpty {
            report(
                max(lines["listen_imap"] ?? 0, lines["listen_imaps"] ?? 0),
                "listen_imap and listen_imaps are both none; nobody could connect"
            )
        }
        if let address = settings.listenIMAP.first(where: { address in
            settings.listenIMAPS.contains { $0.overlaps(address) }
        }) {
            report(
                max(lines["listen_imap"] ?? 0, lines["listen_imaps"] ?? 0),
                "listen_imap and listen_imaps share port \(address.port)"
            )
        }
        for (name, list) in [
            ("listen_imap", settings.listenIMAP), ("listen_imaps", settings.listenIMAPS),
        ] {
            guard
                let index = list.indices.first(where: { index in
                    list[..<index].contains { $0.overlaps(list[index]) }
                })
            else { continue }
            report(
                lines[name] ?? 0,
                "\(name): two addresses cover each other at port \(list[index].port); *:PORT is all"
                    + " of IPv4 and IPv6, [::]:PORT all of IPv6, 0.0.0.0:PORT all of IPv4"
            )
        }
        if case .fixed(let prefix) = settings.namespacePrefix, let last = prefix.last,
            last != settings.hierarchySeparator
        {
            let separator = String(UnicodeScalar(settings.hierarchySeparator))
            report(
                max(lines["namespace_prefix"] ?? 0, lines["hierarchy_separator"] ?? 0),
                "namespace_prefix \"\(String(decoding: prefix, as: UTF8.self))\" does not end in the"
                    + " hierarchy_separator, which is \"\(separator)\""
            )
        }
    }

    private mutating func report(_ line: Int, _ message: String) {
        errors.append(ConfigurationError(file: name, line: line, message: message))
    }

    /// An error that was found later, such as a file that is not there, at the setting's line.
    package func error(about setting: String, _ message: String) -> ConfigurationError {
        ConfigurationError(file: name, line: lines[setting] ?? 0, message: "\(setting): \(message)")
    }

    private func withoutComment(_ line: Substring) -> Substring {
        var previous: Character = " "
        for index in line.indices {
            if line[index] == "#", previous == " " || previous == "\t" { return line[..<index] }
            previous = line[index]
        }
        return line
    }

    private func trimmed(_ text: Substring) -> Substring {
        var text = text
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" || last == "\r" {
            text.removeLast()
        }
        return text
    }

    /// The setting whose name takes the fewest changes, if it is few enough to be meant.
    static func nearest(to name: String) -> String? {
        guard name.utf8.count <= 64 else { return nil }
        let typed = name.lowercased().utf8.map { $0 == UInt8(ascii: "-") ? UInt8(ascii: "_") : $0 }
        let distances = Setting.all.map { ($0.name, distance(typed, Array($0.name.utf8))) }
        guard let best = distances.min(by: { $0.1 < $1.1 }) else { return nil }
        return best.1 <= max(2, best.0.utf8.count / 3) ? best.0 : nil
    }

    /// Levenshtein's distance.
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (index, byte) in left.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in right.indices {
                let cost = diagonal + (byte == right[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(cost, diagonal + 1, row[column] + 1)
            }
        }
        return row[right.count]
    }
}
