<?php

/**
 * @package     jsocketd
 * @subpackage  com_websockets
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Component\Websockets\Administrator\Setup;

use Jsocketd\Component\Websockets\Administrator\Rule\Address;

// phpcs:disable PSR1.Files.SideEffects
\defined('_JEXEC') or die;
// phpcs:enable PSR1.Files.SideEffects

/**
 * Configuration to paste for nginx, Apache, systemd and jsocketd itself. It says the same as the files in jsocketd's
 * folder conf/, with this site's values. The values are parts of addresses, whose characters have no meaning in these
 * formats (Rule\Address). Only the folder is quoted here. The comments are in English, as in all configuration files.
 *
 * @since  0.1.0
 */
final class Snippets
{
    /** The address to listen on where the address for PHP cannot be used for it. */
    private const LISTEN = '127.0.0.1:8080';

    /**
     * @param   Site  $site  The site's values
     *
     * @since   0.1.0
     */
    public function __construct(private readonly Site $site)
    {
    }

    /**
     * All snippets, by name.
     *
     * @return  array<string, array{file: string, text: string}>
     *
     * @since   0.1.0
     */
    public function all(): array
    {
        return [
            'jsocketd' => ['file' => '/etc/jsocketd/jsocketd.toml', 'text' => $this->jsocketd()],
            'nginx'    => ['file' => '/etc/nginx/conf.d/jsocketd.conf', 'text' => $this->nginx()],
            'apache'   => ['file' => '/etc/apache2/conf-available/jsocketd.conf', 'text' => $this->apache()],
            'systemd'  => ['file' => '/etc/systemd/system/jsocketd.service', 'text' => $this->systemd()],
        ];
    }

    /**
     * jsocketd.toml.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function jsocketd(): string
    {
        $lines = [
            '# jsocketd for this site: /etc/jsocketd/jsocketd.toml. `jsocketd check` reads it and says what is missing.',
            '# Credentials come from the options of the component; an [[apps]] with a secret of its own would beat them.',
            '',
            '[server]',
            'listen = ["' . $this->listen() . '"]  # the address for PHP',
        ];

        if (!$this->site->sharesCookie() && $this->site->own !== null) {
            $lines[] = 'allowed_origins = ["' . $this->site->origin() . '"]  # the pages of the site, which is on another host';
        }

        $lines[] = '';
        $lines[] = '[joomla]';
        $lines[] = 'root = ' . self::toml($this->site->root) . '  # where configuration.php is; the user jsocketd must be able to read it';

        return implode("\n", $lines) . "\n";
    }

    /**
     * The part for `http { }` of nginx, and the location.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function nginx(): string
    {
        $top = <<<'NGINX'
            # Put this into http { }, for example as a file of its own in /etc/nginx/conf.d/. Each WebSocket takes two of
            # nginx's `worker_connections`: raise them, and `worker_rlimit_nofile` too. jsocketd trusts the three headers
            # X-Forwarded-*. Each location sets them, because nginx passes on a client's header that it does not set.
            map $http_upgrade $jsocketd_connection {
                default upgrade;
                ""      "";             # an ordinary request keeps the connection to jsocketd open
            }

            upstream jsocketd {
                server {LISTEN};
                keepalive 16;
            }


            NGINX;
        $headers = <<<'NGINX'
                proxy_http_version 1.1;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $jsocketd_connection;
                proxy_set_header Host $http_host;   # with its port: it is compared with the page's origin
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                proxy_set_header X-Forwarded-Host $http_host;
                proxy_set_header X-Forwarded-Proto $scheme;    # https where another proxy in front of nginx ends TLS
                proxy_read_timeout 300s;            # more than ping_interval and ping_timeout together
                proxy_send_timeout 300s;
                proxy_buffering off;
            }

            NGINX;
        $socket = $this->socket();
        $path   = $socket['path'];

        if ($this->site->isSameHostAndPort() && $path === '') {
            $location = "location ~ ^/(app/|apps/|echo\$) {\n    proxy_pass http://jsocketd;\n" . $headers;
        } else {
            $slash    = $path === '' ? '' : '/';
            $location = "location $path/ {\n    proxy_pass http://jsocketd$slash;"
                . ($slash === '' ? "\n" : "   # the slash at its end takes $path away\n") . $headers;
        }

        if ($this->site->isSameHostAndPort()) {
            $location = "# Put this into the server { } of {$socket['host']}:\n" . $location;
        } else {
            $ssl      = $socket['scheme'] === 'wss';
            $location = "server {\n    listen " . Site::port($socket) . ($ssl ? ' ssl' : '') . ";\n"
                . '    server_name ' . $socket['host'] . ";\n"
                . ($ssl ? "    ssl_certificate     /path/to/fullchain.pem;    # put your certificate here\n"
                    . "    ssl_certificate_key /path/to/privkey.pem;\n" : '')
                . "\n" . preg_replace('/^(?=.)/m', '    ', $location) . "}\n";
        }

        return strtr($top, ['{LISTEN}' => $this->upstream()]) . $location;
    }

    /**
     * The part for a virtual host of Apache.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function apache(): string
    {
        $socket = $this->socket();
        $to     = 'http://' . $this->upstream();
        $lines  = [
            'ProxyRequests Off',
            'ProxyPreserveHost On',
            'RequestHeader unset X-Forwarded-Host',
            'RequestHeader set X-Forwarded-Proto expr=%{REQUEST_SCHEME}',
        ];

        if ($this->site->isSameHostAndPort() && $socket['path'] === '') {
            $lines[] = "ProxyPass /app/ $to/app/ upgrade=websocket timeout=300";
            $lines[] = "ProxyPass /apps/ $to/apps/ upgrade=websocket timeout=300";
            $lines[] = "ProxyPassMatch ^/(echo)\$ $to/\$1 upgrade=websocket timeout=300";
        } else {
            $lines[] = "ProxyPass {$socket['path']}/ $to/ upgrade=websocket timeout=300 flushpackets=on";
        }

        $top = <<<'APACHE'
            # Apache 2.4.47 or newer: a2enmod proxy proxy_http headers ssl. Each WebSocket takes one of Apache's
            # workers: use mpm_event and raise MaxRequestWorkers, or use nginx. The timeout is longer than ping_interval
            # and ping_timeout together. mod_proxy_http appends to X-Forwarded-For and X-Forwarded-Host, and jsocketd
            # reads both from their end. The client's X-Forwarded-Host is removed all the same. X-Forwarded-Proto is set
            # here, because mod_proxy_http passes on the client's.

            APACHE;

        if ($this->site->isSameHostAndPort()) {
            return $top . "# Put this into the <VirtualHost> of {$socket['host']}:\n" . implode("\n", $lines) . "\n";
        }

        $port = Site::port($socket);
        $ssl  = $socket['scheme'] !== 'wss' ? '' : "    SSLEngine on\n"
            . "    SSLCertificateFile    /path/to/fullchain.pem\n    SSLCertificateKeyFile /path/to/privkey.pem\n";

        return $top . (\in_array($port, [80, 443], true) ? '' : "Listen $port\n")
            . "<VirtualHost *:$port>\n    ServerName {$socket['host']}\n" . $ssl
            . '    ' . implode("\n    ", $lines) . "\n</VirtualHost>\n";
    }

    /**
     * The unit of systemd. It has no values of the site, because jsocketd.toml names the folder.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    public function systemd(): string
    {
        return <<<'UNIT'
            # systemd unit for jsocketd. Copy to /etc/systemd/system/jsocketd.service, then:
            #   useradd --system --no-create-home --shell /usr/sbin/nologin jsocketd
            #   install -D -o root -g jsocketd -m 0640 jsocketd.toml /etc/jsocketd/jsocketd.toml
            #   systemctl daemon-reload && systemctl enable --now jsocketd
            # A permanent user and not DynamicUser: the configuration holds secrets, and only a permanent group can get
            # access to them.

            UNIT
            . self::UNIT;
    }

    /** The directives of conf/jsocketd.service. A test compares them. */
    private const UNIT = <<<'UNIT'

        [Unit]
        Description=jsocketd, the real-time server for Joomla sites
        After=network-online.target
        Wants=network-online.target

        [Service]
        Type=notify
        ExecStart=/usr/local/bin/jsocketd serve
        ExecReload=/bin/kill -HUP $MAINPID
        User=jsocketd
        Group=jsocketd
        Restart=on-failure
        RestartSec=1
        # The loop itself pets the watchdog: a loop that hangs is restarted.
        WatchdogSec=30
        # Longer than drain_seconds, which spreads the closing of live sockets.
        TimeoutStopSec=30
        # One descriptor for each connection.
        LimitNOFILE=1048576
        # A core dump would hold secrets, cookies and tokens.
        LimitCORE=0
        # For "unix:/run/jsocketd/jsocketd.sock". A proxy's user needs the group: usermod -aG jsocketd www-data
        RuntimeDirectory=jsocketd
        RuntimeDirectoryMode=0750
        LogsDirectory=jsocketd
        LogsDirectoryMode=0750
        ConfigurationDirectory=jsocketd
        ConfigurationDirectoryMode=0750

        # Rights that the server does not need.
        AmbientCapabilities=
        CapabilityBoundingSet=
        LockPersonality=yes
        MemoryDenyWriteExecute=yes
        NoNewPrivileges=yes
        PrivateDevices=yes
        PrivateTmp=yes
        ProcSubset=pid
        ProtectClock=yes
        ProtectControlGroups=yes
        ProtectHome=read-only
        ProtectHostname=yes
        ProtectKernelLogs=yes
        ProtectKernelModules=yes
        ProtectKernelTunables=yes
        ProtectProc=invisible
        ProtectSystem=strict
        RemoveIPC=yes
        RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
        RestrictNamespaces=yes
        RestrictRealtime=yes
        RestrictSUIDSGID=yes
        SystemCallArchitectures=native
        SystemCallErrorNumber=EPERM
        SystemCallFilter=@system-service
        SystemCallFilter=~@privileged
        SystemCallFilter=pidfd_getfd
        UMask=0077

        [Install]
        WantedBy=multi-user.target

        UNIT;

    /**
     * The address for browsers, or the suggested one.
     *
     * @return  array{scheme: string, host: string, port: ?int, path: string}
     *
     * @since   0.1.0
     */
    private function socket(): array
    {
        return $this->site->socket ?? Address::parts($this->site->suggestion());
    }

    /**
     * The address that jsocketd listens on. It is the address for PHP, if that has an IP address.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    private function listen(): string
    {
        $server = $this->site->server;

        if ($server === null || $server['scheme'] !== 'http') {
            return self::LISTEN;
        }

        $host = $server['host'] === 'localhost' ? '127.0.0.1' : $server['host'];

        return filter_var(trim($host, '[]'), FILTER_VALIDATE_IP) === false ? self::LISTEN : $host . ':' . Site::port($server);
    }

    /**
     * The address at which a proxy finds jsocketd.
     *
     * @return  string
     *
     * @since   0.1.0
     */
    private function upstream(): string
    {
        $server = $this->site->server;

        return $server === null || $server['scheme'] !== 'http' ? self::LISTEN : $server['host'] . ':' . Site::port($server);
    }

    /**
     * A TOML basic string. TOML is UTF-8, so other bytes become U+FFFD, which matches no folder.
     *
     * @param   string  $text  Any text
     *
     * @return  string
     *
     * @since   0.1.0
     */
    private static function toml(string $text): string
    {
        $quoted = json_encode($text, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE);

        // JSON leaves DEL as it is, but TOML does not allow it.
        return str_replace("\x7f", '\u007F', $quoted);
    }
}
