import Testing

@testable import Configuration
@testable import Posix

private func read(_ text: String) -> ConfigurationFile {
    ConfigurationFile(parsing: Array(text.utf8), name: "martlet.conf")
}

private func errors(_ text: String) -> [String] { read(text).errors.map(\.description) }

@Suite("martlet.conf")
struct ConfigurationFileTests {
    @Test("an empty file is the default configuration, and comments and blanks are nothing")
    func empty() {
        for text in ["", "\n\n", "# hello\n   # there\r\n\t\n"] {
            let file = read(text)
            #expect(file.errors.isEmpty)
            #expect(file.settings == Settings())
        }
    }

    @Test("each default in the table is the default of the settings")
    func defaults() throws {
        for setting in Setting.all {
            var settings = Settings()
            try setting.apply(&settings, setting.defaultText)
            #expect(settings == Settings(), "\(setting.name)")
        }
    }

    @Test("the table is sorted and names nothing twice")
    func table() {
        let names = Setting.all.map(\.name)
        #expect(names == names.sorted())
        #expect(Set(names).count == names.count)
    }

    @Test("reads every setting")
    func everything() {
        let file = read(
            """
            listen_imap = 127.0.0.1:143, [::1]:143 *:1143   # a list
            listen_imaps = none
            tls_certificate = /etc/a.pem,/etc/b#c.pem
            tls_key=/etc/a.key /etc/b.key
            allow_plaintext_login = never
            mail_location = /var/mail/%u
            hierarchy_separator = /
            namespace_prefix = INBOX/
            pam_service = imap
            pam_session = yes
            login_domains = Example.org, example.net
            minimum_uid = 500
            cache_directory = ~/.cache/martlet
            runtime_directory = /tmp/run
            login_processes = 3
            login_user = nobody
            user_process_linger = 0
            log_level = debug
            """
        )
        #expect(file.errors.isEmpty)
        var expected = Settings()
        expected.listenIMAP = [
            .ipv4([127, 0, 0, 1], port: 143),
            .ipv6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], port: 143),
            .any(port: 1143),
        ]
        expected.listenIMAPS = []
        expected.tlsCertificates = ["/etc/a.pem", "/etc/b#c.pem"]
        expected.tlsKeys = ["/etc/a.key", "/etc/b.key"]
        expected.allowPlaintextLogin = .never
        expected.mailLocation = "/var/mail/%u"
        expected.hierarchySeparator = UInt8(ascii: "/")
        expected.namespacePrefix = .fixed(Array("INBOX/".utf8))
        expected.pamService = "imap"
        expected.pamSession = true
        expected.loginDomains = ["Example.org", "example.net"]
        expected.minimumUID = 500
        expected.cacheDirectory = "~/.cache/martlet"
        expected.runtimeDirectory = "/tmp/run"
        expected.loginProcesses = 3
        expected.loginUser = "nobody"
        expected.userProcessLingerSeconds = 0
        expected.logLevel = .debug
        #expect(file.settings == expected)
        #expect(file.lines.count == Setting.all.count)
    }

    @Test("reports every error at once, each with its line")
    func manyErrors() {
        let found = errors(
            """
            listen_imap 143
            minimum-uid = 7
            minimum_uid = x
            log_level = loud
            log_level = info
            pam_session = true
            colour = blue
            """
        )
        #expect(
            found == [
                "martlet.conf:1: no \"=\"; write name = value",
                "martlet.conf:2: there is no setting \"minimum-uid\"; did you mean minimum_uid?",
                "martlet.conf:3: minimum_uid: \"x\" is no whole number without a sign or unit",
                "martlet.conf:4: log_level: \"loud\" is not one of error, warning, info or debug",
                "martlet.conf:5: log_level is already in line 4; remove one of the two",
                "martlet.conf:6: pam_session: \"true\" is not one of yes or no",
                "martlet.conf:7: there is no setting \"colour\"",
            ]
        )
    }

    @Test(
        "refuses",
        arguments: [
            "minimum_uid = 0", "minimum_uid = 4294967295", "minimum_uid = -1", "minimum_uid =",
            "minimum_uid = 99999999999999999999999", "minimum_uid = ٣",
            "login_processes = 0", "login_processes = 257", "user_process_linger = 86401",
            "listen_imap = ", "listen_imap = 143", "listen_imap = ::1:143",
            "listen_imap = [::1]", "listen_imap = mail.example.org:143",
            "listen_imap = 127.0.0.1:65536", "listen_imap = 127.0.0.1:", "listen_imap = [x]:1",
            "listen_imap = *:143 *:143", "listen_imap = *:993",
            "listen_imap = none\nlisten_imaps = none",
            "mail_location = Maildir", "mail_location = maildir:~/Maildir",
            "mail_location = mbox:~/mail", "mail_location = ~ann/Maildir",
            "mail_location = /var/%d/%u", "mail_location = /var/%", "mail_location =",
            "hierarchy_separator = ", "hierarchy_separator = ..", "hierarchy_separator = a",
            "hierarchy_separator = \"", "hierarchy_separator = *", "hierarchy_separator = é",
            "namespace_prefix = INBOX/", "namespace_prefix = a b.", "namespace_prefix = *.",
            "pam_service = ../x", "pam_service = .x", "pam_service = a/b", "login_domains = @a",
            "tls_certificate = /a", "tls_key = /a", "tls_certificate = a\ntls_key = /b",
            "cache_directory = x", "cache_directory = ~x", "runtime_directory = ~/x",
            "login_user = a b", "login_user =", "\u{0}",
            // What the kernel would refuse at the start, and what would serve nobody or everybody.
            "listen_imap = 127.0.0.1:993", "listen_imaps = [::1]:143",
            "listen_imap = *:143 [::1]:143", "listen_imap = 0.0.0.0:143 127.0.0.1:143",
            "listen_imap = [::]:143 [::1]:143", "listen_imap = localhost:143 127.0.0.1:143",
            "mail_location = /", "mail_location = ~/Maildir:LAYOUT=fs",
            "mail_location = ~/Maildir:UTF-8:INBOX=~/x", "cache_directory = /",
            "cache_directory = ~/100%", "cache_directory = /var/cache/%u", "runtime_directory = //",
            "login_domains = *", "login_domains = a.example;b.example", "login_domains = .a",
            "login_user = root",
        ]
    )
    func refuses(_ text: String) {
        #expect(errors(text).count == 1)
    }

    @Test(
        "takes",
        arguments: [
            "listen_imap = [::]:143, 0.0.0.0:143", "listen_imap = 127.0.0.1:143 127.0.0.2:143",
            "listen_imap = [::1]:143 127.0.0.1:143", "listen_imap = *:0\nlisten_imaps = *:0 *:0",
            "mail_location = ~", "mail_location = /srv/mail:old/%u", "mail_location = ~/Mail dir",
            "login_domains = xn--bcher-kva.example, Bücher.example",
            "\u{FEFF}log_level = debug\n",
        ]
    )
    func takes(_ text: String) {
        #expect(errors(text).isEmpty)
    }

    @Test(
        "says how to mend it",
        arguments: [
            ("listen_imap = ::1:143", "[::1]:143"),
            ("listen_imap = [::1:143", "192.0.2.1:143"),
            ("listen_imap = 127.0.0.1:143;127.0.0.2:143", "192.0.2.1:143"),
            ("mail_location = maildir:~/Mail:LAYOUT=fs:INBOX=~/x", "alone: ~/Mail"),
            ("namespace_prefix = INBOX", "\"INBOX\" does not end in the hierarchy_separator"),
        ]
    )
    func mends(_ text: String, _ mend: String) {
        let found = errors(text)
        #expect(found.count == 1)
        #expect(found.first?.contains(mend) == true, "\(found)")
        #expect(found.first?.contains("[[") == false && found.first?.contains("[127") == false)
    }

    @Test("bytes that are no UTF-8 are an error of that line, not a trap")
    func notText() {
        let file = ConfigurationFile(
            parsing: Array("pam_session = yes\n".utf8) + [0xFF, 0xFE, 0x0A],
            name: "f"
        )
        #expect(file.errors == [ConfigurationError(file: "f", line: 2, message: "not UTF-8 text")])
        #expect(file.settings.pamSession)
    }

    @Test("lists: at the limit and above it")
    func lists() {
        let limit = ConfigurationLimits.listCountMax
        func list(_ count: Int) -> String {
            "login_domains = " + (0..<count).map { "d\($0).example" }.joined(separator: ",")
        }
        #expect(read(list(limit)).settings.loginDomains.count == limit)
        #expect(!errors(list(limit + 1)).isEmpty)
    }

    @Test(
        "numbers: at the limits and beyond",
        arguments: [
            ("login_processes", 1, ConfigurationLimits.processCountMax),
            ("user_process_linger", 0, ConfigurationLimits.lingerSecondsMax),
        ]
    )
    func numbers(_ name: String, _ low: Int, _ high: Int) {
        #expect(errors("\(name) = \(low)").isEmpty)
        #expect(errors("\(name) = \(high)").isEmpty)
        #expect(!errors("\(name) = \(high + 1)").isEmpty)
    }

    @Test(
        "expands mail_location",
        arguments: [
            ("~/Maildir", "ann", "/home/ann/Maildir"),
            ("~", "ann", "/home/ann"),
            ("%h/Maildir/", "ann", "/home/ann/Maildir"),
            ("/var/mail/%u", "ann", "/var/mail/ann"),
            ("/m/100%%/%u/x", "a.b", "/m/100%/a.b/x"),
            ("/var/mail/%u", "..", nil),
            ("/var/mail/%u", "../root", nil),
            ("/var/mail/%u", "", nil),
        ] as [(String, String, String?)]
    )
    func expands(_ location: String, _ user: String, _ expected: String?) {
        let home = Array("/home/ann".utf8)
        #expect(
            Settings.expand(location, home: home, user: Array(user.utf8))
                == expected.map { Array($0.utf8) }
        )
    }

    @Test("a home that is no absolute path gives no location")
    func relativeHome() {
        #expect(
            Settings.expand("~/Maildir", home: [], user: Array("ann".utf8))
                == Array("/Maildir".utf8)
        )
        #expect(Settings.expand("~", home: [], user: Array("ann".utf8)) == nil)
        #expect(Settings.expand("~/M", home: Array("x".utf8), user: Array("ann".utf8)) == nil)
    }
}
