<?php

/**
 * @package     jsocketd
 * @subpackage  tests
 *
 * @copyright   (C) 2026 the jsocketd maintainers
 * @license     GNU General Public License version 2 or later; see LICENSE
 */

namespace Jsocketd\Tests\Package;

use Joomla\CMS\Component\ComponentHelper;
use Joomla\CMS\Factory;
use Joomla\CMS\Form\FormRule;
use Jsocketd\Component\Websockets\Administrator\Field\HiddenStoredField;
use Jsocketd\Component\Websockets\Administrator\Field\SecretField;
use Jsocketd\Component\Websockets\Administrator\Rule\Address;
use Jsocketd\Component\Websockets\Administrator\Rule\SecretRule;
use Jsocketd\Component\Websockets\Administrator\Settings;
use Jsocketd\Component\Websockets\Administrator\Setup\SecretRotation;
use PHPUnit\Framework\TestCase;

/**
 * The options form: accepted and refused values with their sentences, stored values, and the rotation of the secret.
 * The rules come from config.xml, so that a field without its rule fails here.
 */
class AdminOptionsTest extends TestCase
{
    private const NOW_OLD = 'an-old-secret-of-thirty-two-chars';

    /** The types that Joomla 4.4, 5 and 6 have in libraries/src/Form/Field and Rule. */
    private const JOOMLA = [
        'Field' => 'accessiblemedia accesslevel aliastag author cachehandler calendar captcha category checkbox checkboxes chromestyle color'
            . ' combo componentlayout components contenthistory contentlanguage contenttype databaseconnection date datetime editor email'
            . ' file filelist folderlist frontendlanguage groupedlist headertag hidden imagelist integer language lastvisitdaterange limitbox'
            . ' list media menu menuitem meter modalselect modulelayout moduleorder moduleposition moduletag note number ordering password'
            . ' plugins pluginstatus predefinedlist radio radiobasic range redirectstatus registrationdaterange rules'
            . ' schemaorgcomponentsections sessionhandler spacer sql status subform tag telephone templatestyle text textarea time timezone'
            . ' transition url user useractive usergrouplist userstate workflowcomponentsections workflowcondition workflowstage',
        'Rule'  => 'boolean calendar captcha color cssidentifier cssidentifiersubstring email equals exists filepath folderpathexists'
            . ' modulelayout notequals number options password regex rules showon subform tel time url userid username',
    ];

    /** @var  string[]  the messages after the form was posted */
    private array $messages = [];

    protected function setUp(): void
    {
        Factory::$application = new class ($this->messages) {
            public function __construct(private array &$messages)
            {
            }

            public function enqueueMessage($message, $type)
            {
                $this->messages[] = "$type: $message";
            }
        };
    }

    protected function tearDown(): void
    {
        ComponentHelper::$components = [];
        Factory::$application        = null;
    }

    /** @dataProvider good */
    public function testWhatIsMeantIsLetThrough(string $name, mixed $value): void
    {
        self::assertTrue($this->lets($name, $value), $name . ': ' . json_encode($value));
    }

    public static function good(): iterable
    {
        foreach (
            [
                'wss://www.example.org/ws', 'ws://127.0.0.1:8080', 'wss://www.example.org', 'wss://example.org:8443/', 'ws://[::1]:8080/a/b',
                'wss://xn--bcher-kva.example/~ws/x_1.2', 'wss://my_host.local', '', ' wss://www.example.org/ws ', 'wss://EXAMPLE.org',
            ] as $value
        ) {
            yield ['server_url', $value];
        }

        foreach (['http://127.0.0.1:8080', 'https://example.org/ws', 'http://localhost:1', 'http://[::1]:65535', ''] as $value) {
            yield ['server_address', $value];
        }

        foreach (['site-0123abcd', 'a', str_repeat('x', 64), 'A_b-9', ' padded '] as $value) {
            yield ['app_id', $value];
            yield ['app_key', $value];
        }

        foreach ([bin2hex(random_bytes(16)), str_repeat('x', 16), str_repeat('x', 128), '!#$%&()*+,-./:;<=>?@[]^_{|}~aaaaaaaaaa'] as $value) {
            yield ['app_secret', $value];
        }

        foreach ([0, '0', '3000', '60000', 60000, '007'] as $value) {
            yield ['spread_ms', $value];
        }
    }

    /** @dataProvider bad */
    public function testNonsenseIsRefused(string $name, mixed $value): void
    {
        self::assertFalse($this->lets($name, $value), $name . ': ' . json_encode($value));
    }

    public static function bad(): iterable
    {
        $addresses = [
            '://', 'example.org', '//example.org', '%s://', '%s://user@example.org', '%s://user:secret@example.org', '%s://example.org?x=1',
            '%s://example.org/#x', '%s://example.org/ws?client=administrator', '%s://exa mple.org', "%s://example.org/\nx",
            '%s://example.org:0', '%s://example.org:65536', '%s://example.org:80a', '%s://example.org:', '%s://example.org/../x',
            '%s://example.org/./x', '%s://example.org//x', '%s://[::g]', '%s://[1.2.3.4]', '%s://exämple.org', '%s://example.org/"',
            '%s://example.org/;', '%s://example.org/{', '%s://example.org/$x', '%s://example.org/%%2e', '%s://-x',
            '%s://' . str_repeat('a', 400), 'javascript:alert(1)',
            "%s://example.org/\0x", "%s://example.org/'", '%s://example.org/<b>', '%s://.', '%s://a..b',
        ];

        foreach (['server_url' => ['ws', 'http'], 'server_address' => ['http', 'ws']] as $name => [$own, $foreign]) {
            foreach ($addresses as $address) {
                yield [$name, sprintf($address, $own)];
            }

            yield [$name, $foreign . '://example.org'];
            yield [$name, ['ws://example.org']];
            yield [$name, 'ftp://example.org'];
        }

        foreach (['', 'a b', 'a/b', 'ä', str_repeat('x', 65), "a\nb", 'a"b', ['a']] as $value) {
            yield ['app_id', $value];
            yield ['app_key', $value];
        }

        $long = str_repeat('x', 15);

        foreach (['', 'short', 'elevenchars', str_repeat('x', 129), "$long x", $long . '"', $long . '\\', "$long'", $long . 'ä', ['x']] as $value) {
            yield ['app_secret', $value];
        }

        foreach (['', '-1', '60001', '99999', '100000', '1e3', '3.5', '0x10', 'abc', '1 2', ['1']] as $value) {
            yield ['spread_ms', $value];
        }
    }

    public function testALineBreakAtTheEndIsNoPartOfAnAddress(): void
    {
        self::assertFalse(Address::isAddress("ws://example.org\n", 'ws'));
        self::assertFalse(Address::isAddress("ws://example.org/\0", 'ws'));
    }

    public function testEveryRefusalHasASentenceOfItsOwn(): void
    {
        $texts = parse_ini_file(JOOMLA_PACKAGE . '/com_websockets/admin/language/en-GB/com_websockets.ini');
        $seen  = [];

        foreach ($this->config()->xpath('//field[@validate and @type!="rules" and @type!="radio"]') as $field) {
            $message = (string) $field['message'];
            self::assertNotSame('', $texts[$message] ?? '', (string) $field['name']);
            self::assertNotContains($message, $seen);
            $seen[] = $message;
        }

        self::assertCount(7, $seen);
    }

    public function testTheFormHasEveryOption(): void
    {
        $names = array_map(static fn ($field): string => (string) $field['name'], $this->config()->xpath('//field'));
        sort($names);
        self::assertSame([
            'app_id', 'app_key', 'app_secret', 'app_secret_old', 'app_secret_old_until', 'bar', 'delete_data', 'enabled', 'guests', 'hints', 'load',
            'presence_names', 'rules', 'server_address', 'server_url', 'spread_ms',
        ], $names);
    }

    public function testTheDefaultsAreThoseOfTheSettings(): void
    {
        $defaults = [];

        foreach ($this->config()->xpath('//field[@default]') as $field) {
            $defaults[(string) $field['name']] = (string) $field['default'];
        }

        self::assertEquals(Settings::of([]), Settings::of($defaults));
    }

    public function testWhatTheFormLetsThroughTheSettingsUnderstand(): void
    {
        foreach (self::good() as [$name, $value]) {
            $value    = \is_string($value) ? trim($value) : $value;
            $settings = Settings::of([$name => $value]);
            $property = lcfirst(str_replace('_', '', ucwords($name, '_')));

            if ($value !== '') {
                self::assertNotSame('', $settings->$property, $name . ': ' . $value);
            }
        }
    }

    public function testTheOldSecretOutlivesASaveOfTheForm(): void
    {
        ComponentHelper::$components['com_websockets'] = ['app_secret_old' => self::NOW_OLD, 'app_secret_old_until' => time() + 60];

        self::assertSame(self::NOW_OLD, $this->field('app_secret_old')->filter('anything that was posted'));
        self::assertGreaterThan(time(), $this->field('app_secret_old_until')->filter('0'));
    }

    public function testAnOldSecretThatIsOverIsDropped(): void
    {
        ComponentHelper::$components['com_websockets'] = ['app_secret_old' => self::NOW_OLD, 'app_secret_old_until' => time() - 1];

        self::assertSame('', $this->field('app_secret_old')->filter(self::NOW_OLD));
        self::assertSame('', $this->field('app_secret_old_until')->filter('9999999999'));
    }

    public function testTheOldSecretIsNotOnThePage(): void
    {
        ComponentHelper::$components['com_websockets'] = ['app_secret_old' => self::NOW_OLD, 'app_secret_old_until' => time() + 60];

        self::assertSame('<input type="hidden" name="jform[app_secret_old]" value="">', $this->field('app_secret_old')->html());
    }

    public function testTheSecretIsNotOnThePage(): void
    {
        ComponentHelper::$components['com_websockets'] = ['app_secret' => self::NOW_OLD];
        $field = $this->field('app_secret');

        // The stored value, and the typed value of a refused form.
        foreach ([self::NOW_OLD, 'another-secret-that-was-typed'] as $value) {
            self::assertTrue($field->setup($this->element('app_secret'), $value));
            self::assertSame('<input type="password" name="jform[app_secret]" value="" placeholder="Kept as it is">', $field->html());
        }

        ComponentHelper::$components['com_websockets'] = [];
        $field->setup($this->element('app_secret'), '');
        self::assertSame('<input type="password" name="jform[app_secret]" value="" placeholder="" required>', $field->html());
    }

    public function testAnEmptyFieldKeepsTheSecretThatIsStoredWhateverItIs(): void
    {
        foreach (['the new one, stored by a rotation', 'short', 'with "quotes"'] as $stored) {
            ComponentHelper::$components['com_websockets'] = ['app_secret' => $stored, 'app_secret_old' => self::NOW_OLD];

            foreach (['', '  '] as $typed) {
                $kept = $this->field('app_secret')->filter($typed);
                self::assertSame($stored, $kept);
                self::assertTrue((new SecretRule())->test($this->element('app_secret'), $kept));
            }

            self::assertSame('another', $this->field('app_secret')->filter(' another '));
        }

        self::assertSame([], $this->messages, 'what was not typed is not judged');
    }

    public function testAShortSecretIsAcceptedWithAWarningAndAShorterOneRefused(): void
    {
        $document = file_get_contents(\dirname(JOOMLA_PACKAGE) . '/docs/joomla.md');
        self::assertSame(1, preg_match('/One that is typed has (\d+) to (\d+) characters; below (\d+) there is a warning/', $document, $found));
        [, $least, $most, $short] = array_map('intval', $found);

        $cases = [$least - 1 => [false, 0], $least => [true, 1], $short - 1 => [true, 1]]
            + [$short => [true, 0], $most => [true, 0], $most + 1 => [false, 0]];

        foreach ($cases as $length => $wants) {
            $this->messages = [];
            $lets           = $this->lets('app_secret', str_repeat('x', $length));
            self::assertSame($wants, [$lets, \count($this->messages)], "$length characters");
        }

        $texts = parse_ini_file(JOOMLA_PACKAGE . '/com_websockets/admin/language/en-GB/com_websockets.ini');
        self::assertStringContainsString("$least to $most visible", $texts['COM_WEBSOCKETS_CONFIG_APP_SECRET_ERROR']);
        self::assertStringContainsString("fewer than $short characters", $texts['COM_WEBSOCKETS_CONFIG_APP_SECRET_SHORT']);
    }

    /**
     * In all forms of a request Joomla prefers our namespaces, so a type of ours replaces one of Joomla with the same
     * name.
     */
    public function testNoFieldAndNoRuleHasANameOfJoomla(): void
    {
        foreach (self::JOOMLA as $entity => $names) {
            $files = glob(JOOMLA_PACKAGE . "/com_websockets/admin/src/$entity/*$entity.php");
            $ours  = array_map(static fn (string $file): string => strtolower(basename($file, "$entity.php")), $files);

            self::assertNotSame([], $ours);
            self::assertSame([], array_intersect($ours, explode(' ', $names)), $entity);
        }
    }

    public function testARotationKeepsEverythingElse(): void
    {
        $before   = ['app_id' => 'site-1', 'app_secret' => self::NOW_OLD, 'app_secret_old' => 'older', 'unknown' => ['a' => 1], 'enabled' => 0];
        $rotation = new SecretRotation(1000);
        $after    = $rotation->applyTo($before);

        self::assertMatchesRegularExpression('/^[0-9a-f]{32}$/', $after['app_secret']);
        self::assertSame(self::NOW_OLD, $after['app_secret_old']);
        self::assertSame(1600, $after['app_secret_old_until']);
        self::assertSame(1600, $rotation->until);
        self::assertSame(['app_id' => 'site-1', 'unknown' => ['a' => 1], 'enabled' => 0], array_diff_key($after, [
            'app_secret' => 1, 'app_secret_old' => 1, 'app_secret_old_until' => 1,
        ]));
        self::assertNotSame($after['app_secret'], (new SecretRotation(1000))->applyTo($before)['app_secret']);
    }

    public function testARotationWithoutASecretMakesOne(): void
    {
        $after = (new SecretRotation(1000))->applyTo([]);

        self::assertSame(32, \strlen($after['app_secret']));
        self::assertSame('', $after['app_secret_old']);
    }

    private function config(): \SimpleXMLElement
    {
        return simplexml_load_file(JOOMLA_PACKAGE . '/com_websockets/admin/config.xml');
    }

    private function element(string $name): \SimpleXMLElement
    {
        return $this->config()->xpath('//field[@name="' . $name . '"]')[0];
    }

    private function field(string $name): HiddenStoredField|SecretField
    {
        $element = $this->element($name);
        $class   = 'Jsocketd\\Component\\Websockets\\Administrator\\Field\\' . $element['type'] . 'Field';

        return new $class($element);
    }

    /** Whether the form accepts a value: first the field's filter runs, then its rule. */
    private function lets(string $name, mixed $value): bool
    {
        $element = $this->element($name);
        $class   = 'Jsocketd\\Component\\Websockets\\Administrator\\Rule\\' . $element['validate'] . 'Rule';
        $rule    = new $class();
        self::assertInstanceOf(FormRule::class, $rule);
        self::assertSame(Address::class . '::trimmed', (string) $element['filter']);

        return $rule->test($element, \call_user_func(explode('::', (string) $element['filter']), $value));
    }
}
