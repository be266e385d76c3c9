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
 * Configuration to paste for jsocketd, the usual web servers and systemd. The texts are those of jsocketd's folder conf/,
 * which the package has, too: here they only get this site's values. The values are parts of addresses, whose characters
 * have no meaning in these formats (Rule\Address). Only the folder is quoted here. The comments are in English, as in all
 * configuration files.
 *
 * Beside the site, nginx and Apache have a host for it already, so the lines are files of their own that it includes. On
 * a host of its own the whole host is there. A Caddyfile and haproxy.cfg are whole in both cases.
 *
 * @since  0.1.0
 */
final class Snippets
{
    /** Where jsocketd listens in the files, and where the address for PHP cannot be used for it. */
    private const LISTEN = '127.0.0.1:8080';

    /** The host, and what precedes jsocketd's own paths, in the files. */
    private const HOST  = 'www.example.org';
    private const PLACE = '/ws/';

    /**
     * @param   Site  $site  The site's values
     *
     * @since   0.1.0
     */
    public function __construct(private readonly Site $site)
    {
    }

    /**
     * All snippets, by name. The name is also that of its title in the language file. The file is the one that the text
     * is meant for.
     *
     * @return  array<string, array{file: string, text: string}>
     *
     * @since   0.1.0
     */
    public function all(): array
    {
        $snippets = ['jsocketd' => ['file' => '/etc/jsocketd/jsocketd.toml', 'text' => $this->jsocketd()]];

        if ($this->isBeside()) {
            $snippets['nginx']          = ['file' => '/etc/nginx/conf.d/jsocketd.conf', 'text' => $this->nginxTop()];
            $snippets['nginx_location'] = ['file' => '/etc/nginx/snippets/jsocketd.conf', 'text' => $this->nginxLocation()];
            $snippets['apache']         = ['file' => '/etc/apache2/conf-available/jsocketd.conf', 'text' => $this->apacheLocation()];
        } else {
            $snippets['nginx']  = ['file' => '/etc/nginx/conf.d/jsocketd.conf', 'text' => $this->nginxHost()];
            $snippets['apache'] = ['file' => '/etc/apache2/sites-available/jsocketd.conf', 'text' => $this->apacheHost()];
        }

        return $snippets + [
            'caddy'   => ['file' => '/etc/caddy/Caddyfile', 'text' => $this->caddy()],
            'haproxy' => ['file' => '/etc/haproxy/haproxy.cfg', 'text' => $this->haproxy()],
            'systemd' => ['file' => '/etc/systemd/system/jsocketd.service', 'text' => self::conf('jsocketd.service')],
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

        if (!$this->site->sharesCookie() && $this->site->own !== null && $this->site->socket !== null) {
            $lines[] = 'allowed_origins = ["' . $this->site->origin() . '"]  # the pages of the site, which is on another host';
        }

        $lines[] = '';
        $lines[] = '[joomla]';
        $lines[] = 'root = ' . self::toml($this->site->root) . '  # where configuration.php is; the user jsocketd must be able to read it';

        return implode("\n", $lines) . "\n";
    }

    /**
     * The lines for `http { }` of nginx.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function nginxTop(): string
    {
        $text = self::conf('nginx.conf');
        $from = strpos($text, "\n\n") + 2;

        return $this->filled(substr($text, $from, strpos($text, "\n# http leads") - $from));
    }

    /**
     * The location for each `server { }` of the site in nginx.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function nginxLocation(): string
    {
        return "# Put the line `include snippets/jsocketd.conf;` into each server { } of {$this->socket()['host']}.\n"
            . $this->filled(self::block('nginx.conf', 'location '));
    }

    /**
     * All of nginx for a host that serves nothing else.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function nginxHost(): string
    {
        $port   = Site::port($this->socket());
        $listen = $this->hasTls() ? "$port ssl" : (string) $port;
        $usual  = ['listen 443 ssl;', 'listen [::]:443 ssl;'];

        return str_replace($usual, ["listen $listen;", "listen [::]:$listen;"], $this->host('nginx.conf', 'ssl_'));
    }

    /**
     * The location for each `<VirtualHost>` of the site in Apache.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function apacheLocation(): string
    {
        return "# Apache 2.4.47 or newer: `a2enmod proxy proxy_http headers`. Put the line `Include conf-available/jsocketd.conf`\n"
            . "# into each <VirtualHost> of {$this->socket()['host']}.\n" . $this->filled(self::block('apache.conf', '<Location '));
    }

    /**
     * All of Apache for a host that serves nothing else.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function apacheHost(): string
    {
        $port = Site::port($this->socket());
        $host = (\in_array($port, [80, 443], true) ? '' : "Listen $port\n") . "<VirtualHost *:$port>";

        return '# Apache 2.4.47 or newer: `a2enmod proxy proxy_http headers' . ($this->hasTls() ? ' ssl' : '') . '`, `a2ensite jsocketd`.'
            . "\n" . str_replace('<VirtualHost *:443>', $host, $this->host('apache.conf', 'SSL'));
    }

    /**
     * A whole Caddyfile.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function caddy(): string
    {
        $socket  = $this->socket();
        $port    = Site::port($socket);
        $address = ($this->hasTls() ? '' : 'http://') . $socket['host'] . ($port === ($this->hasTls() ? 443 : 80) ? '' : ":$port");
        $text    = str_replace("\n" . self::HOST . ' {', "\n$address {", ltrim(strstr(self::conf('Caddyfile'), "\n\n")));

        if (!$this->hasTls()) {
            $text = preg_replace('/^\t# Without this line.*\n\ttls .*\n\n/m', '', $text);
        }

        if (!$this->isBeside()) {
            $text = preg_replace('/^\t# Beside the site.*\n\n/m', '', $text);
        }

        return '# A whole Caddyfile. If there is one already, the lines from handle_path on go into its block of '
            . "{$socket['host']}.\n#\n" . $this->filled($text);
    }

    /**
     * A whole haproxy.cfg.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function haproxy(): string
    {
        $port = Site::port($this->socket());
        $text = ltrim(strstr(self::conf('haproxy.cfg'), "\n\n"));

        if (!$this->hasTls()) {
            $text = preg_replace('/^    (bind :443|http-request redirect) .*\n/m', '', str_replace('bind :80', "bind :$port", $text));
        } elseif (!$this->isUsualTls()) {
            $text = preg_replace('/^    (bind :80$|http-request redirect .*)\n/m', '', str_replace('bind :443', "bind :$port", $text));
        }

        if (!$this->isBeside()) {
            $text = preg_replace('/^    default_backend site\n|\nbackend site\n(    .*\n)*/m', '', $text);
        }

        $path = str_replace('.', '[.]', $this->path());

        return '# A whole haproxy.cfg. If there is one already, the line with use_backend goes into its frontend of '
            . $this->socket()['host'] . ",\n# and the backend jsocketd to its end.\n#\n"
            . $this->filled(str_replace('^/ws(/.*)', "^$path(/.*)", $text));
    }

    /**
     * A file of conf/ without what it says about itself, for a host of its own, with this site's values; without the lines
     * for TLS where the host has none.
     *
     * @param   string  $name  The file
     * @param   string  $tls   How each line for TLS begins
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function host(string $name, string $tls): string
    {
        $text = preg_replace('/^    # Beside the site.*\n\n/m', '', strstr(self::conf($name), "\n\n"));

        if (!$this->isUsualTls()) {
            $text = preg_replace('/^# http leads.*?\n\n/ms', '', $text);
        }

        if (!$this->hasTls()) {
            $text = preg_replace("/^    $tls.*\n/m", '', $text);
        }

        return ltrim($this->filled($text));
    }

    /**
     * A text of conf/ with this site's values.
     *
     * @param   string  $text  The text
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function filled(string $text): string
    {
        return strtr($text, [
            self::HOST            => $this->socket()['host'],
            self::LISTEN          => $this->upstream(),
            ' ' . self::PLACE     => ' ' . $this->path() . '/',
            self::HOST . self::PLACE => $this->socket()['host'] . $this->path() . '/',
        ]);
    }

    /**
     * A file of conf/.
     *
     * @param   string  $name  Its name
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private static function conf(string $name): string
    {
        return file_get_contents(\dirname(__DIR__, 2) . '/conf/' . $name);
    }

    /**
     * A block of a file of conf/, without the indentation that its first line has.
     *
     * @param   string  $name   The file
     * @param   string  $start  How the first line begins
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private static function block(string $name, string $start): string
    {
        // The line, lines that are indented deeper, and one with the same indentation that closes it.
        $pattern = '/^( *)' . preg_quote($start, '/') . '.*\n(?:\1 +.*\n)*\1[}<].*\n/m';
        preg_match($pattern, self::conf($name), $found);

        return preg_replace("/^$found[1]/m", '', $found[0]);
    }

    /**
     * Whether the socket is on the site's own host and port, so that one proxy serves both.
     *
     * @return  boolean
     *
     * @since   0.2.0
     */
    private function isBeside(): bool
    {
        return $this->site->socket === null || $this->site->isSameHostAndPort();
    }

    /**
     * Whether the socket has TLS.
     *
     * @return  boolean
     *
     * @since   0.2.0
     */
    private function hasTls(): bool
    {
        return $this->socket()['scheme'] === 'wss';
    }

    /**
     * Whether the socket has TLS at the port that browsers take for it. Then http:// leads to https://.
     *
     * @return  boolean
     *
     * @since   0.2.0
     */
    private function isUsualTls(): bool
    {
        return $this->hasTls() && Site::port($this->socket()) === 443;
    }

    /**
     * What precedes jsocketd's own paths. Beside the site it is never empty, because / is the site's.
     *
     * @return  string
     *
     * @since   0.2.0
     */
    private function path(): string
    {
        $path = $this->socket()['path'];

        return $path === '' && $this->isBeside() ? rtrim(self::PLACE, '/') : $path;
    }

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
