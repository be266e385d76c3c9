<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Jsocketd\Plugin\System\Websockets\Page\Policy;
use PHPUnit\Framework\TestCase;

final class PolicyTest extends TestCase
{
    private const ORIGIN = 'wss://example.org:8443';

    public function testMerging(): void
    {
        $o = self::ORIGIN;

        foreach (
            [
                ["connect-src 'self'", "connect-src 'self' $o"],
                ["connect-src 'none'", "connect-src $o"],
                ["connect-src 'NONE'; script-src 'self'", "connect-src $o; script-src 'self'"],
                ['connect-src', "connect-src $o"],
                ["default-src 'self'; connect-src 'self' https://a.example", "default-src 'self'; connect-src 'self' https://a.example $o"],
                ["Connect-Src  'self'  ;  img-src *", "connect-src 'self' $o;  img-src *"],
                ["default-src 'self'", "default-src 'self'; connect-src 'self' $o"],
                ["default-src 'none';", "default-src 'none'; connect-src $o"],
                [
                    "default-src 'self' 'nonce-abc' 'unsafe-inline' 'strict-dynamic' 'sha256-x=' {script-hashes} data: https://a.example",
                    "default-src 'self' 'nonce-abc' 'unsafe-inline' 'strict-dynamic' 'sha256-x=' {script-hashes} data: https://a.example;"
                        . " connect-src 'self' data: https://a.example $o",
                ],
                // Nothing restricts connections.
                ["script-src 'self'; frame-ancestors 'self'", "script-src 'self'; frame-ancestors 'self'"],
                ['', ''],
                [';;', ';;'],
                // The origin is allowed already.
                ["connect-src 'self' $o", "connect-src 'self' $o"],
                ['connect-src WSS://EXAMPLE.org:8443;', 'connect-src WSS://EXAMPLE.org:8443;'],
                // The first directive of a name counts.
                ["connect-src 'self'; connect-src $o", "connect-src 'self' $o; connect-src $o"],
                // Two policies, both of which count.
                ["connect-src 'self', default-src 'self'", "connect-src 'self' $o, default-src 'self'; connect-src 'self' $o"],
                ["img-src *; connect-src 'self'", "img-src *; connect-src 'self' $o"],
            ] as [$before, $after]
        ) {
            $this->assertSame($after, Policy::allow($before, self::ORIGIN), $before);
            $this->assertSame($after, Policy::allow($after, self::ORIGIN), 'not twice: ' . $before);
            $this->assertSame($before, Policy::allow($before, ''));
        }
    }
}
